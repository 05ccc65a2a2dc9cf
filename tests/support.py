"""The door on a real socket, and a backend that does as a test says."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

import backends
from backends import REMOTE
from backends.base import EngineSpec, Health, ModelSpec, Report
from backends.types import Event, Request, Task
from proxy.app import build_app
from proxy.lifecycle.engines import Create
from proxy.registry.models import ModelEntry, Registry
from proxy.serve import make_runner
from proxy.settings import Settings


@asynccontextmanager
async def serve_app(registry: Registry, create: Create = backends.create, **settings: object) -> AsyncIterator[str]:
    """The base URL (http://127.0.0.1:port) of the whole door, served as `switchboard serve` does. settings: fields that differ."""
    app = build_app(Settings.model_validate(settings), registry, create)
    async with serve_running(app, make_runner(app)) as url:
        yield url


@asynccontextmanager
async def serve_running(app: web.Application, runner: web.AppRunner | None = None) -> AsyncIterator[str]:
    """The base URL of an app, served on a free port. runner: aiohttp's own unless told otherwise."""
    runner = runner or web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def one_model(
    name: str, task: Task, *aliases: str, kind: str = "whisper", source: str = "", data: Path = Path()
) -> Registry:
    """A registry of one model, which is the default for its task. source: "" = its name; data: the engine's directory."""
    urls = ("http://127.0.0.1:9",) if kind in REMOTE else ()
    engine = EngineSpec(name=kind, kind=kind, urls=urls, data=data)
    entry = ModelEntry(name=name, engine=kind, spec=ModelSpec(source=source or name), task=task, aliases=aliases)
    return Registry(engines={kind: engine}, models=(entry,), defaults={task: name})


async def gone(thing: weakref.ref[object]) -> None:
    """Wait until nothing refers to it. Raises TimeoutError after half a minute.

    Threads let go of what they worked on when they come to it, and only one of them collects at a time.
    """
    async with asyncio.timeout(30):
        while thing() is not None:
            gc.collect()
            await asyncio.sleep(0.01)


@dataclass
class ScriptedBackend:
    """A backend whose answers a test writes. script: a request -> its events (an exception among them is raised)."""

    script: Callable[[Request], Iterable[Event | Exception]]
    requests: list[Request] = field(default_factory=list)

    def create(self, _: EngineSpec) -> ScriptedBackend:
        """This backend, for whatever engine: give it to serve_app."""
        return self

    async def load(self, model: ModelSpec, report: Report) -> None:
        """At once."""

    async def unload(self, model: ModelSpec) -> None:
        """At once."""

    async def health(self) -> Health:
        """Well."""
        return Health(ok=True)

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """Play the script."""
        self.requests.append(request)
        for event in self.script(request):
            if isinstance(event, Exception):
                raise event
            yield event

    async def close(self) -> None:
        """Nothing to give back."""
