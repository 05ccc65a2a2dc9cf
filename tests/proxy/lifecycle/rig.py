"""Models whose loads a test steers, and a machine whose memory a test sets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from backends.base import EngineSpec, Health, ModelSpec, Progress, Report
from backends.errors import Unavailable
from backends.inprocess import hub
from backends.types import Complete, Event, Request, Usage
from proxy.events.values import Event as News
from proxy.lifecycle.engines import Engines
from proxy.lifecycle.manager import LifecycleManager
from proxy.lifecycle.memory import Room
from proxy.lifecycle.places import Place
from proxy.lifecycle.requirements import Consult, nothing_known
from proxy.lifecycle.rules import Rules
from proxy.registry.models import ModelEntry

WAIT = 10.0
assert hub, "imported beforehand, so that no first load takes longer than others"


def entry(name: str, *, source: str = "", engine: str = "e") -> ModelEntry:
    return ModelEntry(
        name=name, engine=engine, spec=ModelSpec(source=source or f"/models/{name}", name=name), task="text"
    )


@dataclass
class Machine:
    """Memory in MB, of which each loaded model takes `each`."""

    total: float = 10_000.0
    others: float = 1_000.0
    each: float = 100.0
    loaded: set[str] = field(default_factory=set)

    def room(self) -> Room:
        held = self.each * len(self.loaded)
        return Room(self.total, self.total - self.others - held, ours=50.0 + held)


@dataclass
class SteeredBackend:
    """Loads wait for `go`; those whose source is in `failures` raise that. log: what was done, in order."""

    machine: Machine
    go: asyncio.Event = field(default_factory=asyncio.Event)
    failures: dict[str, Exception] = field(default_factory=dict)
    reports: tuple[Progress, ...] = ()
    downloads: asyncio.Event = field(default_factory=asyncio.Event)
    log: list[str] = field(default_factory=list)

    async def load(self, model: ModelSpec, report: Report) -> None:
        """As steered; a source that ends in `-slow` downloads first, until `downloads`."""
        kind = "" if model.compute_type is None else f" {model.compute_type}"
        self.log.append(f"load {model.name}{kind}")
        if model.source.endswith("-slow"):
            report(Progress("download", 1, 4))
            await self.downloads.wait()
        for each in self.reports:
            report(each)
        await self.go.wait()
        if model.name in self.failures:
            raise self.failures[model.name]
        self.machine.loaded.add(model.source)
        self.log.append(f"loaded {model.name}")

    async def unload(self, model: ModelSpec) -> None:
        """At once."""
        self.machine.loaded.discard(model.source)
        self.log.append(f"unload {model.name}")

    async def health(self) -> Health:
        """Well."""
        return Health(ok=True)

    async def probe(self, model: ModelSpec) -> Request:
        """A prompt."""
        return Complete(prompts=("tiny",))

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """Usage, for a model that is loaded."""
        if model.source not in self.machine.loaded:
            raise Unavailable(f"{model.name} is not loaded")
        self.log.append(f"run {model.name}")
        yield Usage(1, 1)

    async def close(self) -> None:
        """Nothing to give back."""


@dataclass
class Rig:
    """A manager over one steered engine, `e`, and one elsewhere, `far`; news: what was published."""

    manager: LifecycleManager
    backend: SteeredBackend
    machine: Machine
    news: list[News]
    engines: Engines

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait for a fact."""
        async with asyncio.timeout(WAIT):
            while not fact():  # noqa: ASYNC110 - facts of several owners, which announce nothing
                await asyncio.sleep(0.001)

    def place(self, model: ModelEntry) -> Place:
        return self.manager.place(model)

    def kinds(self) -> list[str]:
        return [news.kind.removeprefix("model.") for news in self.news]


def make_rig(rules: Rules | None = None, facts: Consult = nothing_known, machine: Machine | None = None) -> Rig:
    machine = machine or Machine()
    backend = SteeredBackend(machine)
    backend.go.set()
    specs = {
        "e": EngineSpec(name="e", kind="transformers", device="cpu"),
        "far": EngineSpec(name="far", kind="vllm", urls=("http://127.0.0.1:9",)),
    }
    news: list[News] = []
    engines = Engines(specs, lambda _: backend)
    manager = LifecycleManager(engines, rules or Rules(), publish=news.append, facts=facts, read=machine.room)
    return Rig(manager, backend, machine, news, engines)


async def used(rig: Rig, *names: str) -> None:
    """Use each of these models for a moment, one after the other."""
    for name in names:
        async with rig.manager.use(entry(name)):
            pass
