"""Engines are asked how busy they are where that decides something; whatever they answer, requests go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from backends.base import EngineSpec, Gauges, ModelSpec
from backends.errors import BackendError, TimedOut
from proxy.registry.models import ModelEntry, Registry, Target
from proxy.routing import gauges
from proxy.routing.gauges import Scraper, contested
from proxy.routing.health import ReplicaHealth
from proxy.routing.replica import Replica
from proxy.routing.standing import Standing
from tests.support import ScriptedBackend

ONE = "http://127.0.0.1:1"
OTHER = "http://127.0.0.1:2"


class Telling(ScriptedBackend):
    """A backend whose engine tells what `answer` gives, or waits for ever where that is None."""

    def __init__(self, answer: Callable[[], Gauges | BackendError | None]) -> None:
        super().__init__(lambda _: ())
        self.answer = answer
        self.asked = 0

    async def gauges(self) -> Gauges:
        """As it was told to."""
        self.asked += 1
        told = self.answer()
        if told is None:
            await asyncio.Event().wait()
        if not isinstance(told, Gauges):
            raise told or AssertionError
        return told


def replica(name: str, backend: ScriptedBackend) -> Replica:
    """One of an engine `gpu`."""
    spec = EngineSpec(name=name, kind="vllm", urls=(ONE,))
    return Replica(
        name,
        "gpu",
        ONE,
        spec,
        backend,
        relay=None,
        watched=None,
        health=ReplicaHealth(spec.health),
        standing=Standing(1),
    )


def registry(**urls: tuple[str, ...]) -> Registry:
    """A model for each engine, and engines of these URLs."""
    engines = {name: EngineSpec(name=name, kind="vllm", urls=each) for name, each in urls.items()}
    spec = ModelSpec(source="m")
    return Registry(
        engines=engines, models=tuple(ModelEntry(name=name, engine=name, spec=spec, task="text") for name in engines)
    )


@asynccontextmanager
async def scraping(*replicas: Replica) -> AsyncIterator[None]:
    """These are asked, time and again, as the replicas of one engine."""
    models = registry(gpu=(ONE, OTHER))
    task = asyncio.create_task(Scraper(lambda: models, lambda engine: replicas if engine == "gpu" else ()).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time and again is soon."""
    monkeypatch.setattr(gauges, "EVERY", 0.005)


async def until(true: Callable[[], bool]) -> None:
    """Wait for a fact, five seconds at most."""
    for _ in range(2500):
        if true():
            return
        await asyncio.sleep(0.002)
    raise TimeoutError


async def test_an_engine_that_does_not_answer_keeps_nobody_else_from_it() -> None:
    slow, quick = Telling(lambda: None), Telling(lambda: Gauges(waiting=1, running=2))
    one, other = replica("gpu#1", slow), replica("gpu#2", quick)
    other.in_flight = 2

    async with scraping(one, other, replica("gpu#3", ScriptedBackend(lambda _: ()))):
        await until(lambda: quick.asked > 5)

    assert slow.asked == 1
    assert one.standing.reading is None
    reading = other.standing.reading
    assert reading is not None
    assert (reading.gauges.running, reading.in_flight) == (2, 2)


async def test_failures_are_told_once_and_so_is_their_end() -> None:
    failing = True
    backend = Telling(lambda: TimedOut("said nothing") if failing else Gauges(running=1))
    asked = replica("gpu#1", backend)

    with capture_logs() as logs:
        async with scraping(asked):
            await until(lambda: backend.asked > 3)
            assert asked.standing.silent == "said nothing"
            failing = False
            await until(lambda: asked.standing.reading is not None)

    told = [(line["event"], line["replica"]) for line in logs]
    assert told == [("no figures", "gpu#1"), ("figures again", "gpu#1")]
    assert asked.standing.silent is None


def test_only_engines_between_which_there_is_a_choice_are_asked() -> None:
    models = registry(alone=(ONE,), several=(ONE, OTHER), beside=(ONE,))
    targets = tuple(Target(engine=name, spec=ModelSpec(source="m")) for name in ("alone", "beside"))
    both = ModelEntry(name="both", engine="alone", spec=ModelSpec(source="m"), task="text", targets=targets)

    assert contested(models) == {"several"}
    assert contested(Registry(engines=models.engines, models=(both,))) == {"alone", "beside"}
