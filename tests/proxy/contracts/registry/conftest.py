"""A door with a registry on either database, in front of a backend that says what it was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

import aiohttp
import orjson
import pytest

from backends.base import EngineSpec, ModelSpec
from backends.types import Chat, Complete, Delta, Event, Finish, Infer, Inferred, Request, Usage
from proxy.registry.models import ModelEntry, Registry
from proxy.storage.location import Location, Postgres
from tests.support import ScriptedBackend, serve_app

# JSON, as tests look into it.
Body: TypeAlias = dict[str, Any]
Open: TypeAlias = Callable[[], AbstractAsyncContextManager[str]]

KINDS = ("transformers", "translation", "pipelines", "whisper")
CONFIGURED = ModelEntry(
    name="house/chat", engine="transformers", spec=ModelSpec(source="s"), task="text", aliases=("gpt2",)
)


def script(request: Request) -> Iterable[Event | Exception]:
    """A few words for text, and the question itself for tasks."""
    match request:
        case Complete() | Chat():
            yield Delta(0, "bright and ")
            yield Delta(0, "full")
            yield Finish(0, "stop")
            yield Usage(3, 2)
        case Infer(task=task, inputs=inputs):
            yield Inferred(orjson.dumps([{"task": task, "inputs": inputs}]))


@dataclass
class Client:
    """The contract's base URL. Each call gives the status and the body."""

    http: aiohttp.ClientSession
    url: str

    async def __call__(self, method: str, path: str, body: object = None, **options: Any) -> tuple[int, Body]:
        """Ask; body: sent as JSON."""
        if body is not None:
            options["json"] = body
        async with self.http.request(method, f"{self.url}/api/huggingface{path}", **options) as answer:
            return answer.status, await answer.json()

    async def add(self, model_id: str, model_type: str = "text-generation", **fields: object) -> Body:
        """Register a model that must be taken."""
        body = {"model_id": model_id, "name": model_id.upper(), "model_type": model_type, **fields}
        status, told = await self("POST", "/models", body)
        assert status == 200, told
        model: Body = told["model"]
        return model


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend(script)


@pytest.fixture
def registry() -> Registry:
    return Registry(engines={kind: EngineSpec(name=kind, kind=kind) for kind in KINDS}, models=(CONFIGURED,))


@pytest.fixture
def opened(location: Location, registry: Registry, backend: ScriptedBackend) -> Open:
    """Opens another door on the same database."""
    url = location.url if isinstance(location, Postgres) else f"sqlite:///{location.path}"
    return lambda: serve_app(registry, backend.create, database_url=url, max_body_mb=0.5)


@pytest.fixture
async def ask(opened: Open) -> AsyncIterator[Client]:
    """The contract's client."""
    async with opened() as url, aiohttp.ClientSession() as http:
        yield Client(http, url)
