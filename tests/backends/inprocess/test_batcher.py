import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from backends.errors import Unavailable
from backends.inprocess.batcher import Batcher

WAIT = 20.0


@dataclass
class Doubler:
    """Doubles numbers once it may; remembers each call, and fails as told."""

    go: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    calls: list[tuple[str, list[int]]] = field(default_factory=list)
    fits: int = 1000
    bad: frozenset[int] = frozenset()

    def __call__(self, key: str, jobs: Sequence[int]) -> list[int]:
        self.entered.set()
        assert self.go.wait(WAIT)
        self.calls.append((key, list(jobs)))
        if len(jobs) > self.fits:
            raise RuntimeError("CUDA failed with error out of memory")
        if self.bad & set(jobs):
            raise ValueError("no such thing")
        return [2 * job for job in jobs]


@pytest.fixture
def doubler() -> Doubler:
    return Doubler()


@pytest.fixture
async def batcher(doubler: Doubler) -> AsyncIterator[Batcher[str, int, int]]:
    batcher = Batcher[str, int, int]("double", doubler, max_batch=4, max_wait_ms=1)
    yield batcher
    doubler.go.set()
    await batcher.close()


async def busy(batcher: Batcher[str, int, int], doubler: Doubler) -> asyncio.Task[list[int]]:
    """A caller whose batch runs, and holds the thread until doubler may go on."""
    task = asyncio.create_task(batcher.run("first", "a", [0]))
    assert await asyncio.to_thread(doubler.entered.wait, WAIT)
    return task


async def test_callers_share_a_call_and_get_their_own_results(
    batcher: Batcher[str, int, int], doubler: Doubler
) -> None:
    first = await busy(batcher, doubler)
    others = [asyncio.create_task(batcher.run(number, "a", [number, 10 * number])) for number in (1, 2)]
    await asyncio.sleep(0)
    doubler.go.set()
    assert await asyncio.gather(first, *others) == [[0], [2, 20], [4, 40]]
    assert doubler.calls == [("a", [0]), ("a", [1, 2, 10, 20])]


async def test_jobs_of_other_keys_run_apart(batcher: Batcher[str, int, int], doubler: Doubler) -> None:
    doubler.go.set()
    results = await asyncio.gather(batcher.run(1, "a", [1]), batcher.run(1, "b", [2]))
    assert list(results) == [[2], [4]]
    assert sorted(doubler.calls) == [("a", [1]), ("b", [2])]


async def test_a_caller_who_leaves_takes_waiting_jobs_along_and_disturbs_nobody(
    batcher: Batcher[str, int, int], doubler: Doubler
) -> None:
    first = await busy(batcher, doubler)
    leaving, staying = (asyncio.create_task(batcher.run(number, "a", [number])) for number in (1, 2))
    await asyncio.sleep(0)
    leaving.cancel()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    with pytest.raises(asyncio.CancelledError):
        await first
    doubler.go.set()
    assert await staying == [4]
    assert doubler.calls == [("a", [0]), ("a", [2])]


async def test_who_leaves_between_halves_is_not_computed(batcher: Batcher[str, int, int], doubler: Doubler) -> None:
    doubler.fits = 1
    left, right = (asyncio.create_task(batcher.run(number, "a", [number])) for number in (1, 2))
    assert await asyncio.to_thread(doubler.entered.wait, WAIT)
    right.cancel()
    with pytest.raises(asyncio.CancelledError):
        await right
    doubler.go.set()
    assert await left == [2]
    assert doubler.calls == [("a", [1, 2]), ("a", [1])]


async def test_short_memory_halves_this_batch_and_those_after_it(
    batcher: Batcher[str, int, int], doubler: Doubler
) -> None:
    doubler.fits = 2
    doubler.go.set()
    assert await batcher.run(1, "a", [1, 2, 3, 4]) == [2, 4, 6, 8]
    assert await batcher.run(1, "a", [1, 2, 3, 4]) == [2, 4, 6, 8]
    assert [len(jobs) for _, jobs in doubler.calls] == [4, 2, 2, 2, 2]


async def test_no_memory_even_for_one_is_unavailable_for_a_while_and_the_next_is_served(
    batcher: Batcher[str, int, int], doubler: Doubler
) -> None:
    doubler.fits = 0
    doubler.go.set()
    with pytest.raises(Unavailable, match="memory") as unavailable:
        await batcher.run(1, "a", [1])
    assert unavailable.value.retry_after
    doubler.fits = 1
    assert await batcher.run(1, "a", [1]) == [2]


async def test_a_bad_job_fails_alone(batcher: Batcher[str, int, int], doubler: Doubler) -> None:
    doubler.bad = frozenset({2})
    doubler.go.set()
    outcomes = await asyncio.gather(*(batcher.run(n, "a", [n]) for n in (1, 2, 3)), return_exceptions=True)
    assert outcomes[0] == [2]
    assert isinstance(outcomes[1], ValueError)
    assert outcomes[2] == [6]


async def test_closing_fails_what_waits_lets_the_running_batch_end_and_takes_no_more(
    batcher: Batcher[str, int, int], doubler: Doubler
) -> None:
    first = await busy(batcher, doubler)
    waiting = asyncio.create_task(batcher.run(1, "a", [1]))
    await asyncio.sleep(0)
    closing = asyncio.create_task(batcher.close())
    with pytest.raises(Unavailable, match="unloaded"):
        await waiting
    with pytest.raises(Unavailable):
        await batcher.run(2, "a", [2])
    assert not closing.done()
    doubler.go.set()
    await closing
    assert await first == [0]


async def test_jobs_may_be_awaited_one_by_one(batcher: Batcher[str, int, int], doubler: Doubler) -> None:
    doubler.go.set()
    futures = batcher.submit(1, "a", [1, 2, 3])
    assert [await future for future in futures] == [2, 4, 6]
