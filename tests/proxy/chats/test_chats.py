"""Turns of a chat: what is kept of an answer, however it ends, and however the database is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import repeat

import pytest
from blockbuster import BlockBuster

from proxy.chats import chats as module
from proxy.chats.chats import CHAT_STORE, MAX_ANSWER, Answer, Chats
from proxy.chats.store import ChatStore
from proxy.chats.values import Place
from proxy.storage.database import Database, Stored
from proxy.storage.errors import StorageUnavailable


class Moody(ChatStore):
    """A store whose database is away for answers as often as a test says."""

    def __init__(self, database: Database, failures: Iterator[Exception]) -> None:
        super().__init__(database)
        self._failures = failures
        self.kept = asyncio.Event()

    async def answer(self, place: Place, text: str, *, complete: bool, now: datetime) -> bool:
        """Keep it, if not away."""
        if failure := next(self._failures, None):
            raise failure
        done = await super().answer(place, text, complete=complete, now=now)
        self.kept.set()
        return done


def chats_with(database: Database, *failures: Exception) -> tuple[Chats, Moody]:
    store = Moody(database, iter(failures))
    stored: Stored[ChatStore] = Stored(database, CHAT_STORE)
    stored._store = store
    return Chats(stored), store


async def kept(chats: Chats, chat_id: str = "1") -> list[tuple[str, bool]]:
    """The content of each message, and whether it is complete."""
    found = await chats.get("ann", chat_id, 0, 100)
    assert found is not None
    return [(message.content, message.complete) for message in found[1]]


@pytest.fixture
def chats(database: Database) -> Chats:
    return Chats(Stored(database, CHAT_STORE))


async def test_an_answer_that_ended_is_complete(chats: Chats) -> None:
    async with chats.turn("ann", "1", "Hello?", "m") as answer:
        assert await kept(chats) == [("Hello?", True), ("", False)]
        answer.add("Hel")
        answer.add("lo.")
        answer.end()
    assert await kept(chats) == [("Hello?", True), ("Hello.", True)]


async def test_an_answer_that_broke_off_is_not(chats: Chats) -> None:
    with pytest.raises(ZeroDivisionError):
        async with chats.turn("ann", "1", "Hello?", "m") as answer:
            answer.add("Hel")
            raise ZeroDivisionError
    assert await kept(chats) == [("Hello?", True), ("Hel", False)]


async def test_whoever_is_cancelled_keeps_what_was_written(chats: Chats) -> None:
    async def talk() -> None:
        async with chats.turn("ann", "1", "Hello?", "m") as answer:
            answer.add("Hel")
            begun.set()
            await asyncio.Event().wait()

    begun = asyncio.Event()
    talking = asyncio.create_task(talk())
    await begun.wait()
    talking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await talking
    assert await kept(chats) == [("Hello?", True), ("Hel", False)]


async def test_an_answer_is_kept_now_and_then_while_it_is_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_SECONDS", 0.01)
    chats, store = chats_with(database, StorageUnavailable())
    async with chats.turn("ann", "1", "Hello?", "m") as answer:
        answer.add("Hel")
        await store.kept.wait()
        assert await kept(chats) == [("Hello?", True), ("Hel", False)]
        answer.add("lo.")
        answer.end()
    assert await kept(chats) == [("Hello?", True), ("Hello.", True)]


def test_an_endless_answer_is_kept_up_to_a_limit() -> None:
    answer = Answer()
    for _ in range(3):
        answer.add("x" * (MAX_ANSWER // 2))
    answer.add("x")
    answer.end()
    assert len(answer.text) == MAX_ANSWER
    assert not answer.complete
    whole = Answer()
    whole.add("x" * MAX_ANSWER)
    whole.end()
    assert whole.complete


async def test_what_no_database_keeps_is_replaced(chats: Chats) -> None:
    async with chats.turn("ann", "1", "Hello?", "m") as answer:
        answer.add("a\0b")
        answer.end()
    assert (await kept(chats))[1] == ("a\ufffdb", True)


async def test_an_answer_waits_for_the_database_to_come_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.01, 0.01))
    chats, store = chats_with(database, StorageUnavailable(), StorageUnavailable())
    async with chats.turn("ann", "1", "Hello?", "m") as answer:
        answer.add("Hello.")
        answer.end()
    await store.kept.wait()
    assert (await kept(chats))[1] == ("Hello.", True)


@pytest.mark.parametrize("failure", [StorageUnavailable(), OSError("a mistake of ours")], ids=["away", "mistake"])
async def test_an_answer_that_cannot_be_kept_is_incomplete_and_the_operator_is_told(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: Exception,
    nothing_blocks_the_loop: BlockBuster,
) -> None:
    nothing_blocks_the_loop.deactivate()  # a traceback in the log reads source files
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.0,))
    chats, _ = chats_with(database, *repeat(failure, 2))
    async with chats.turn("ann", "1", "Hello?", "m") as answer:
        answer.add("Hello.")
        answer.end()
    assert await kept(chats) == [("Hello?", True), ("", False)]
    assert "answer not kept" in capsys.readouterr().out


async def test_nobody_waits_for_ever_for_an_answer_to_be_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(module, "RETRY_SECONDS", (600.0,))
    chats, store = chats_with(database, StorageUnavailable())
    async with chats.turn("ann", "1", "Hello?", "m"):
        pass
    await chats.close()
    assert not store.kept.is_set()


async def test_a_new_chat_takes_the_place_of_the_oldest(database: Database) -> None:
    chats = Chats(Stored(database, CHAT_STORE), most=2)
    for chat_id in ("1", "2", "1", "3"):
        async with chats.turn("ann", chat_id, "Hello?", "m") as answer:
            answer.end()
    async with chats.turn("bob", "1", "Hello?", "m") as answer:
        answer.end()
    assert [chat.chat_id for chat in await chats.all("ann", 9)] == ["3", "1"]
    assert [chat.chat_id for chat in await chats.all("bob", 9)] == ["1"]


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


async def until_left(chats: Chats, *left: str) -> None:
    async with asyncio.timeout(10):
        while [chat.chat_id for chat in await chats.all("ann", 9)] != [*left]:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_chats_are_forgotten_when_their_time_is_over(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.01)
    clock = Clock()
    chats, forever = Chats(Stored(database, CHAT_STORE), clock, days=2), Chats(Stored(database, CHAT_STORE), clock)
    for chat_id in ("1", "2"):
        async with chats.turn("ann", chat_id, "Hello?", "m") as answer:
            answer.end()
        clock.now += timedelta(days=1)
    await forever.start()
    await chats.start()
    await until_left(chats, "2", "1")
    clock.now += timedelta(seconds=1)
    await until_left(chats, "2")
    clock.now += timedelta(days=1)
    await until_left(chats)
    await chats.close()
    await forever.close()


async def test_old_chats_are_forgotten_when_the_database_is_back(
    database: Database, monkeypatch: pytest.MonkeyPatch, nothing_blocks_the_loop: BlockBuster
) -> None:
    nothing_blocks_the_loop.deactivate()  # a traceback in the log reads source files
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.01)
    clock = Clock()
    store = Away(database, [StorageUnavailable(), ValueError("a mistake of ours")])
    stored: Stored[ChatStore] = Stored(database, CHAT_STORE)
    stored._store = store
    chats = Chats(stored, clock, days=1)
    async with chats.turn("ann", "1", "Hello?", "m") as answer:
        answer.end()
    clock.now += timedelta(days=2)
    await chats.start()
    await until_left(chats)
    await chats.close()
    assert not store.failures


class Away(ChatStore):
    """A store that cannot forget as often as a test says."""

    def __init__(self, database: Database, failures: list[Exception]) -> None:
        super().__init__(database)
        self.failures = failures

    async def expire(self, before: datetime) -> int:
        if self.failures:
            raise self.failures.pop()
        return await super().expire(before)
