"""The overload benchmark's own judgement: its engine falls when crowded, its clients give up, and recovery is one that lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.bench.arrivals import Arrival, arrive, clients
from tests.bench.crowded_engine import CAPACITY, SECONDS, SLOTS, Crowded, Work
from tests.bench.load import request_bytes
from tests.bench.mock_engine import MODEL
from tests.bench.overload import Phase, judge, recovered, render

REQUEST = request_bytes("engine", MODEL, "", stream=False, pause_ms=0)


@pytest.fixture
async def work() -> Work:
    return Work()


@pytest.fixture
async def engine(work: Work) -> AsyncIterator[str]:
    server = await asyncio.get_running_loop().create_server(lambda: Crowded(work), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_every_arrival_is_accounted_for(engine: str) -> None:
    async with clients(engine, REQUEST, patience=5.0) as crowd:
        arrivals = await asyncio.gather(*await arrive(crowd, rate=50, seconds=0.4, seed=1))
    assert arrivals
    assert {each.outcome for each in arrivals} == {"answered"}
    assert all(each.seconds >= 0.5 * SECONDS - 0.005 for each in arrivals)


async def test_clients_give_up_and_the_engine_stops_working_for_them(engine: str, work: Work) -> None:
    async with clients(engine, REQUEST, patience=0.03) as crowd:
        arrivals = await asyncio.gather(*await arrive(crowd, rate=300, seconds=0.1, seed=1))
        assert {each.outcome for each in arrivals} == {"gave up"}
    async with asyncio.timeout(5):
        while work.requests:  # noqa: ASYNC110 - a count that announces nothing
            await asyncio.sleep(0.001)


def test_the_engine_falls_when_it_is_crowded() -> None:
    loop = asyncio.new_event_loop()

    async def speed(requests: int) -> float:
        work = Work()
        for _ in range(requests):
            work.begin(Crowded(work))
        return requests * work._speed()

    assert loop.run_until_complete(speed(SLOTS)) == pytest.approx(SLOTS)
    assert loop.run_until_complete(speed(3 * SLOTS)) == pytest.approx(SLOTS / 2)
    loop.close()


def phase(
    name: str, load: float, *, fine: int, refused: int = 0, seconds: float = 20.0, slow_until: float = 0
) -> Phase:
    """`fine` answers evenly spread, in 200 ms, but in a second as long as it is slow."""
    answers = [seconds * number / fine for number in range(fine)]
    arrivals = [Arrival(due, 1.0 if due < slow_until else 0.2, "answered") for due in answers]
    return Phase(name, load, seconds, [*arrivals, *[Arrival(0.0, 0.001, "refused")] * refused])


def test_recovery_is_the_moment_after_which_nothing_is_wrong_any_more() -> None:
    assert recovered(phase("after", 0.5, fine=1000), 200) == 0
    assert recovered(phase("after", 0.5, fine=1000, slow_until=6.5), 200) == 7
    assert recovered(phase("after", 0.5, fine=1000, slow_until=20), 200) is None


def test_a_bound_that_does_not_hold_is_found_out() -> None:
    usual, after = phase("0.5", 0.5, fine=1000), phase("0.5, after", 0.5, fine=1000)
    good = [usual, phase("10", 10, fine=int(18 * CAPACITY), refused=10_000), after]
    assert all(holds for _, holds in judge(good))
    assert "| 10 | 590.0 | 90.0 | 500.0 | 0.0 | 200 ms | 200 ms | 1 ms | 0 ms |" in render(good)
    fallen = [usual, phase("2", 2, fine=2000), phase("10", 10, fine=1500, slow_until=30), after]
    assert [holds for _, holds in judge(fallen)] == [False, True, False, True, True]
