"""A manager over engines that are real processes: fake engines, on whose memory a test decides."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import psutil

import backends
from backends.base import EngineSpec, ModelSpec
from backends.launch import PORT, Launch, Process
from backends.types import JsonObject
from proxy.events.values import Event as News
from proxy.lifecycle import guard
from proxy.lifecycle.engines import Engines
from proxy.lifecycle.gpu import Gpu
from proxy.lifecycle.manager import LifecycleManager
from proxy.lifecycle.memory import Room
from proxy.lifecycle.rules import Rules
from proxy.registry.models import ModelEntry, Registry
from tests.proxy.lifecycle import rig as steered
from tests.proxy.lifecycle.rig import SteeredBackend

FAKE = str(Path(__file__).with_name("fake_engine.py"))
WAIT = 20.0


def launch(*options: str, env: Mapping[str, str] | None = None, **terms: object) -> Launch:
    """A fake engine with these options, which ends at once when it is told to."""
    by = Process(command=(sys.executable, FAKE, "--port", PORT, *options), env=env or {})
    return replace(Launch(by=by, flags=True, start=WAIT, grace=2.0), **terms)  # type: ignore[arg-type]


def model(engine: str, *, adapter: str | None = None) -> ModelEntry:
    """What the engine of this name serves: `fake`, or an adapter on it."""
    name = engine if adapter is None else f"{engine}-{adapter}"
    spec = ModelSpec(source="fake" if adapter is None else name, adapter=adapter, name=name)
    return ModelEntry(name=name, engine=engine, spec=spec, task="text")


@dataclass
class Machine:
    """Memory in MB, of which each engine that serves holds `each`, and `rest` when it sleeps. gpu: it is that of a GPU, beside a
    host with its own, of which `others` hold a part.
    """

    total: float = 10_000.0
    each: float = 100.0
    rest: float = 0.0
    gpu: bool = False
    host: float = 10_000.0
    others: float = 0.0
    holding: Callable[[], tuple[int, int]] = field(default=lambda: (0, 0))

    def room(self) -> Room:
        serving, sleeping = self.holding()
        held = serving * self.each + sleeping * self.rest
        if self.gpu:
            return Room(self.host, self.host - self.others, 0.0, Gpu(self.total, held), {"cuda:1": Gpu(10_000.0, 0.0)})
        return Room(self.total, self.total - held, held)


@dataclass
class EngineRig:
    """news: what was published."""

    manager: LifecycleManager
    engines: Engines
    news: list[News]

    def url(self, engine: str) -> str:
        return self.engines.replicas(engine)[0].spec.urls[0]

    async def get(self, engine: str, path: str) -> JsonObject:
        """What the engine answers itself."""

        def ask() -> JsonObject:
            with urllib.request.urlopen(self.url(engine) + path, timeout=10) as answer:
                return cast("JsonObject", json.load(answer))

        return await asyncio.to_thread(ask)

    async def pid(self, engine: str) -> int:
        return int(str((await self.get(engine, "/asked"))["pid"]))

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait for a fact."""
        async with asyncio.timeout(WAIT):
            while not fact():  # noqa: ASYNC110 - facts of several owners, which announce nothing
                await asyncio.sleep(0.01)

    def kinds(self, name: str) -> list[str]:
        return [each.kind.removeprefix("model.") for each in self.news if getattr(each, "model_id", None) == name]


@asynccontextmanager
async def engine_rig(
    launches: Mapping[str, Launch | EngineSpec],
    *entries: ModelEntry,
    rules: Rules | None = None,
    machine: Machine | None = None,
) -> AsyncIterator[EngineRig]:
    """A manager over these engines, and one of this process, `here`; at the end no process of them may be left."""
    specs = {
        name: EngineSpec(name=name, kind="vllm", launch=each) if isinstance(each, Launch) else each
        for name, each in launches.items()
    }
    specs["here"] = EngineSpec(name="here", kind="transformers", device="cpu")
    news: list[News] = []
    here = SteeredBackend(steered.Machine())
    here.go.set()
    engines = Engines(specs, lambda spec: here if spec.name == "here" else backends.create(spec))
    machine = machine or Machine()
    manager = LifecycleManager(engines, rules or Rules(), publish=news.append, read=machine.room)
    machine.holding = lambda: _holding(manager, len(here.machine.loaded))
    models = entries or tuple(model(name) for name in launches)
    manager.serve_from(Registry(engines=specs, models=models))
    await manager.start()
    try:
        yield EngineRig(manager, engines, news)
    finally:
        await manager.close()
        await engines.close()
        left = psutil.Process().children(recursive=True)
        assert not [process for process in left if guard.__file__ in process.cmdline()]


def _holding(manager: LifecycleManager, here: int) -> tuple[int, int]:
    """How many engines serve, models of this process among them, and how many sleep."""
    launched = manager._launcher._launched.values()
    return here + sum(each.up and not each.level for each in launched), sum(each.asleep for each in launched)
