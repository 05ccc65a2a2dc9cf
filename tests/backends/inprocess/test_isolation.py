"""A backend in a process of its own: what crosses over, and what the proxy is like after the process has died."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import psutil
import pytest

from backends.base import EngineSpec, ModelSpec, Progress
from backends.errors import BackendError, Broken, Invalid, Overloaded, Unavailable, Unsupported
from backends.inprocess.isolation import IsolatedBackend, Rules
from backends.types import Complete, Delta, Event, Transcribe, Usage

INNER = "tests.backends.inprocess.crashing:CrashingBackend"
SPEC = EngineSpec(name="crashing", kind="transformers", isolation="process")
MODEL = ModelSpec(source="model")
QUICK = Rules(patience=2.0, first_rest=0.01, longest_rest=0.05)
SECONDS = 30.0


def ignored(_: Progress) -> None:
    pass


@pytest.fixture
async def backend() -> AsyncIterator[IsolatedBackend]:
    backend = IsolatedBackend(SPEC, INNER, QUICK)
    await backend.load(MODEL, ignored)
    yield backend
    await backend.close()


async def ask(backend: IsolatedBackend, prompt: str, model: ModelSpec = MODEL) -> list[Event]:
    return [event async for event in backend.run(model, Complete(prompts=(prompt,)))]


async def asked_again(backend: IsolatedBackend, prompt: str) -> list[Event]:
    """The answer, asking again for as long as we are told to."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await ask(backend, prompt)
            except Unavailable as error:
                assert error.retry_after is not None
                await asyncio.sleep(0.01)


async def healthy_again(backend: IsolatedBackend) -> None:
    async with asyncio.timeout(SECONDS):
        while not (await backend.health()).ok:  # noqa: ASYNC110 - as whoever watches a proxy from outside
            await asyncio.sleep(0.01)


async def test_events_cross_from_another_process(backend: IsolatedBackend) -> None:
    assert await ask(backend, "count") == [Delta(0, f"pid {backend.pid}")]
    assert backend.pid != os.getpid()


async def test_audio_crosses_whole(backend: IsolatedBackend) -> None:
    audio = bytes(range(256)) * 20_000
    assert [e async for e in backend.run(MODEL, Transcribe(audio=audio))] == [Usage(len(audio), sum(audio))]


async def test_loads_report_and_unloads_free() -> None:
    backend = IsolatedBackend(SPEC, INNER, QUICK)
    seen: list[Progress] = []
    assert (await backend.health()).ok
    await backend.load(MODEL, seen.append)
    assert seen == [Progress("load", done, 3) for done in range(3)]
    assert (await backend.health()).reason == "1 loaded"
    await backend.unload(MODEL)
    assert (await backend.health()).reason == "0 loaded"
    with pytest.raises(Unsupported, match="not loaded"):
        await ask(backend, "count")
    await backend.close()


async def test_errors_cross_as_what_they_are(backend: IsolatedBackend) -> None:
    with pytest.raises(Overloaded, match="too much") as refusal:
        await ask(backend, "refuse")
    assert refusal.value.retry_after == 2.5


async def test_a_bug_is_told_without_its_text_and_kills_nobody(backend: IsolatedBackend) -> None:
    pid = backend.pid
    with pytest.raises(Broken, match="whose log says why"):
        await ask(backend, "bug")
    assert await ask(backend, "count") == [Delta(0, f"pid {pid}")]


async def test_closing_a_stream_stops_the_work(backend: IsolatedBackend) -> None:
    async with asyncio.timeout(SECONDS), aclosing(backend.run(MODEL, Complete(prompts=("slow",)))) as events:
        assert len([await anext(events) for _ in range(3)]) == 3
    assert await ask(backend, "count") == [Delta(0, f"pid {backend.pid}")]


@pytest.mark.parametrize("how", ["abort", "segfault", "exit", "hang"])
async def test_the_death_of_the_worker_is_an_answer_and_the_next_one_serves(backend: IsolatedBackend, how: str) -> None:
    pid = backend.pid
    began = time.monotonic()
    with pytest.raises(Unavailable, match="worker process of crashing ended") as refusal:
        await ask(backend, how)
    assert refusal.value.retry_after
    assert time.monotonic() - began < SECONDS
    (answer,) = await asked_again(backend, "count")
    assert answer == Delta(0, f"pid {backend.pid}")
    assert backend.pid != pid


async def test_others_are_told_to_come_again_and_finish_then(backend: IsolatedBackend) -> None:
    others = [asyncio.create_task(ask(backend, f"slow {number}")) for number in range(3)]
    await asyncio.sleep(0.05)
    with pytest.raises(Unavailable):
        await ask(backend, "abort")
    for error in await asyncio.gather(*others, return_exceptions=True):
        assert isinstance(error, Unavailable)
        assert error.retry_after
    await healthy_again(backend)
    async with asyncio.timeout(SECONDS), aclosing(backend.run(MODEL, Complete(prompts=("slow 1",)))) as events:
        assert len([await anext(events) for _ in range(5)]) == 5


async def test_a_request_that_killed_two_workers_is_refused_and_the_others_are_not(backend: IsolatedBackend) -> None:
    for _ in range(2):
        await healthy_again(backend)
        with pytest.raises(Unavailable):
            await ask(backend, "abort")
    await healthy_again(backend)
    pid = backend.pid
    with pytest.raises(Invalid, match="twice crashed"):
        await ask(backend, "abort")
    assert await ask(backend, "count") == [Delta(0, f"pid {pid}")]


async def test_who_was_only_there_is_not_refused(backend: IsolatedBackend) -> None:
    bystander = asyncio.create_task(ask(backend, "slow"))
    await asyncio.sleep(0.05)
    with pytest.raises(Unavailable):
        await ask(backend, "abort")
    with pytest.raises(Unavailable):
        await bystander
    await healthy_again(backend)
    with pytest.raises(Unavailable):
        await ask(backend, "abort")
    await healthy_again(backend)
    async with asyncio.timeout(SECONDS), aclosing(backend.run(MODEL, Complete(prompts=("slow",)))) as events:
        assert isinstance(await anext(events), Delta)


async def test_a_model_whose_load_kills_is_not_loaded_again(backend: IsolatedBackend) -> None:
    with pytest.raises(Unavailable, match="ended"):
        await backend.load(ModelSpec(source="deadly"), ignored)
    await healthy_again(backend)
    assert (await backend.health()).reason == "1 loaded"


@pytest.mark.parametrize(
    ("name", "inner", "complaint"),
    [
        ("stillborn", INNER, "ended with exit status 4"),
        ("lacking", "tests.backends.inprocess.not_there:Backend", "package that is not installed: tests"),
    ],
)
async def test_a_worker_that_cannot_start_is_told(name: str, inner: str, complaint: str) -> None:
    backend = IsolatedBackend(EngineSpec(name=name, kind="transformers"), inner, QUICK)
    with pytest.raises(BackendError, match=complaint):
        await backend.load(MODEL, ignored)
    assert backend.pid is None
    await backend.close()


@pytest.mark.parametrize("seconds", [0.0, 0.5])
async def test_whoever_tires_of_a_start_takes_the_worker_along(seconds: float) -> None:
    backend = IsolatedBackend(EngineSpec(name="endless", kind="transformers"), INNER, QUICK)
    us = psutil.Process()
    before = set(us.children())
    loading = asyncio.create_task(backend.load(MODEL, ignored))
    while not set(us.children()) - before:  # noqa: ASYNC110 - nothing tells us when a process is there
        await asyncio.sleep(0.001)
    await asyncio.sleep(seconds)
    loading.cancel()
    await asyncio.wait({loading}, timeout=SECONDS)
    assert loading.cancelled()
    assert set(us.children()) == before
    await backend.close()


async def test_the_worker_ends_with_the_backend(backend: IsolatedBackend) -> None:
    pid = backend.pid
    assert pid is not None
    running = asyncio.create_task(ask(backend, "slow"))
    await asyncio.sleep(0.05)
    await backend.close()
    with pytest.raises(Unavailable):
        await running
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(("deaths", "seconds"), [(1, 0.5), (2, 1.0), (5, 8.0), (8, 60.0), (10_000, 60.0)])
def test_rests_grow_with_deaths(deaths: int, seconds: float) -> None:
    assert Rules().rest(deaths) == seconds
