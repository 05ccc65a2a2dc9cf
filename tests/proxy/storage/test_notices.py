"""Notices between proxies on one PostgreSQL server, also while it comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest
import structlog
from blockbuster import BlockBuster

from proxy.storage import notices
from proxy.storage.location import Postgres
from proxy.storage.notices import LONGEST, Notices
from tests.postgres import Cluster

END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
def place(postgres: Cluster) -> Postgres:
    return Postgres(postgres.create())


@dataclass
class Ear:
    """One proxy: what it heard, and since when it was deaf."""

    heard: list[str] = field(default_factory=list)
    deaf: list[float] = field(default_factory=list)

    async def until(self, fact: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not fact():  # noqa: ASYNC110 - lists that announce nothing
                await asyncio.sleep(0.01)


@asynccontextmanager
async def connected(place: Postgres) -> AsyncIterator[tuple[Notices, Ear]]:
    """Notices that are heard, which is tried out."""
    ear = Ear()
    made = Notices(place, ear.heard.append, ear.deaf.append)
    running = asyncio.create_task(made.run())
    made.send(["begin"])
    await ear.until(lambda: ear.heard == ["begin"])
    ear.heard.clear()
    yield made, ear
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def end_connections(place: Postgres) -> None:
    connection = await asyncpg.connect(place.url)
    await connection.execute(END)
    await connection.close()


async def test_what_one_sends_all_hear_in_order(place: Postgres) -> None:
    async with connected(place) as (first, one), connected(place) as (_, other):
        sent = [f"{number} {'x' * (LONGEST - 8)}" for number in range(200)]
        first.send(sent[:3])
        first.send(sent[3:])
        for ear in (one, other):
            await ear.until(lambda ear=ear: len(ear.heard) >= 200)  # type: ignore[misc]
            assert [text for text in ear.heard if text != "begin"] == sent
            assert ear.deaf == []


async def test_a_connection_that_is_lost_is_made_again_and_what_waited_is_sent(
    place: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "FIRST_PAUSE", 0.2)
    async with connected(place) as (first, one), connected(place) as (_, other):
        one.heard.clear()
        await end_connections(place)
        await asyncio.sleep(0.05)
        first.send(["after"])
        for ear in (one, other):
            await ear.until(lambda ear=ear: len(ear.deaf) == 1)  # type: ignore[misc]
        first.send(["later"])
        await one.until(lambda: "later" in one.heard)
        assert one.heard == ["after", "later"]


async def test_a_server_that_is_not_there_yet_is_waited_for(
    postgres: Cluster, place: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "FIRST_PAUSE", 0.05)
    await asyncio.to_thread(postgres.stop)
    ear = Ear()
    late = Notices(place, ear.heard.append, ear.deaf.append)
    running = asyncio.create_task(late.run())
    late.send(["early"])
    await asyncio.sleep(0.2)
    await asyncio.to_thread(postgres.start)
    await ear.until(lambda: ear.heard == ["early"] and len(ear.deaf) == 1)
    await late.flush()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_fault_of_ours_makes_nobody_deaf_for_ever(
    place: Postgres, monkeypatch: pytest.MonkeyPatch, nothing_blocks_the_loop: BlockBuster
) -> None:
    nothing_blocks_the_loop.deactivate()  # a traceback in the log reads source files
    monkeypatch.setattr(notices, "FIRST_PAUSE", 0.05)
    async with connected(place) as (first, ear):
        with monkeypatch.context() as broken, structlog.testing.capture_logs() as lines:
            broken.setattr(notices, "SEND", 3)
            first.send(["lost", "with it"])
            await ear.until(lambda: bool(lines))
        await ear.until(lambda: ear.heard == ["lost", "with it"])
        assert lines[0]["log_level"] == "error" and ear.deaf


async def test_what_waits_is_bounded_and_the_oldest_goes(place: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "ROOM", 3)
    ear = Ear()
    made = Notices(place, ear.heard.append, ear.deaf.append)
    made.send(str(number) for number in range(9))
    running = asyncio.create_task(made.run())
    await ear.until(lambda: len(ear.heard) == 3)
    assert ear.heard == ["6", "7", "8"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
