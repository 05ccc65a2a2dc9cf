"""Chats in either database, held against a plain dictionary; and what happens when many ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, select, text

from proxy.chats import store as module
from proxy.chats.store import ChatStore
from proxy.chats.values import Message, Place
from proxy.storage.database import Database
from proxy.storage.location import Location, Postgres
from proxy.storage.tables import CHATS, MESSAGES
from tests.postgres import Cluster

T = TypeVar("T")
START = datetime(2026, 11, 21, 12, tzinfo=UTC)
OWNERS = st.sampled_from(["", "ann", "bob"])
CHAT_IDS = st.sampled_from(["1", "a/b", "ü'; --"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@dataclass
class Kept:
    """A chat as it ought to be. messages: role, content, whether complete."""

    updated: datetime
    messages: list[tuple[str, str, bool]] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """A question that waits for its answer. chat: where it belongs, though another may have its name by now."""

    place: Place
    chat: Kept


def said(message: Message) -> tuple[str, str, bool]:
    return message.role, message.content, message.complete


class ChatMachine(RuleBasedStateMachine):
    """Everything that can be done to chats, done to the store and to a dictionary."""

    waiting = Bundle[Asked]("waiting")

    def __init__(self, database: Database, runner: asyncio.Runner) -> None:
        super().__init__()
        self._runner = runner
        self._store = ChatStore(database)
        self._now = START
        self._chats: dict[tuple[str, str], Kept] = {}
        self._run(forget(database))

    def _run(self, work: Coroutine[object, object, T]) -> T:
        return self._runner.run(work)

    def _later(self) -> datetime:
        self._now += timedelta(microseconds=1)
        return self._now

    @rule(target=waiting, owner=OWNERS, chat_id=CHAT_IDS, question=TEXTS)
    def ask(self, owner: str, chat_id: str, question: str) -> Asked:
        now = self._later()
        chat = self._chats.setdefault((owner, chat_id), Kept(now))
        chat.updated = now
        chat.messages += [("user", question, True), ("assistant", "", False)]
        place = self._run(self._store.ask(owner, chat_id, question, "org/model", now))
        assert place.position == len(chat.messages)
        return Asked(place, chat)

    @rule(asked=consumes(waiting), text=TEXTS, complete=st.booleans())
    def answer(self, asked: Asked, text: str, complete: bool) -> None:
        now = self._later()
        place, chat = asked.place, asked.chat
        there = self._chats.get((place.owner, place.chat_id)) is chat
        chat.updated = now
        chat.messages[place.position - 1] = ("assistant", text, complete)
        assert self._run(self._store.answer(place, text, complete=complete, now=now)) is there

    @rule(asked=consumes(waiting))
    def withdraw(self, asked: Asked) -> None:
        place, chat = asked.place, asked.chat
        there = self._chats.get((place.owner, place.chat_id)) is chat
        last = there and len(chat.messages) == place.position
        assert self._run(self._store.withdraw(place)) is last
        if last:
            del chat.messages[-2:]
        if last and not chat.messages:
            del self._chats[place.owner, place.chat_id]

    @rule(owner=OWNERS, most=st.integers(1, 3))
    def trim(self, owner: str, most: int) -> None:
        mine = sorted((chat.updated, chat_id) for (who, chat_id), chat in self._chats.items() if who == owner)
        gone = mine[:-most]
        assert self._run(self._store.trim(owner, most)) == len(gone)
        for _, chat_id in gone:
            del self._chats[owner, chat_id]

    @rule(ago=st.integers(0, 10))
    def expire(self, ago: int) -> None:
        before = self._now - timedelta(microseconds=ago)
        gone = [key for key, chat in self._chats.items() if chat.updated < before]
        assert self._run(self._store.expire(before)) == len(gone)
        for key in gone:
            del self._chats[key]

    @rule(owner=OWNERS, chat_id=CHAT_IDS)
    def delete(self, owner: str, chat_id: str) -> None:
        there = self._chats.pop((owner, chat_id), None) is not None
        assert self._run(self._store.delete(owner, chat_id)) is there

    @rule(owner=OWNERS, limit=st.integers(1, 4))
    def list_in_pages(self, owner: str, limit: int) -> None:
        mine = [
            (chat.updated, chat_id, len(chat.messages)) for (who, chat_id), chat in self._chats.items() if who == owner
        ]
        seen, before = [], None
        while page := self._run(self._store.chats(owner, limit, before)):
            assert len(page) <= limit
            seen += [(chat.updated, chat.chat_id, chat.messages) for chat in page]
            before = (page[-1].updated, page[-1].chat_id)
        assert seen == sorted(mine, reverse=True)

    @rule(owner=OWNERS, chat_id=CHAT_IDS, limit=st.integers(1, 5), characters=st.integers(1, 50))
    def read_in_pages(self, owner: str, chat_id: str, limit: int, characters: int) -> None:
        seen: list[tuple[str, str, bool]] = []
        while page := self._run(self._store.messages(owner, chat_id, len(seen), limit, characters)):
            assert len(page) <= limit
            assert sum(len(message.content) for message in page[:-1]) < characters
            assert [message.position for message in page] == list(range(len(seen) + 1, len(seen) + len(page) + 1))
            seen += map(said, page)
        chat = self._chats.get((owner, chat_id))
        assert seen == (chat.messages if chat else [])

    @invariant()
    def every_chat_is_there(self) -> None:
        for (owner, chat_id), kept in self._chats.items():
            chat = self._run(self._store.chat(owner, chat_id))
            assert chat is not None
            assert (chat.updated, chat.messages) == (kept.updated, len(kept.messages))


async def forget(database: Database) -> None:
    """Start anew."""
    async with database.write() as transaction:
        await transaction.execute(delete(CHATS))


def test_chats_are_kept_as_a_dictionary_would(location: Location) -> None:
    with asyncio.Runner() as runner:
        database = Database(location)

        class Machine(ChatMachine):
            def __init__(self) -> None:
                super().__init__(database, runner)

        try:
            run_state_machine_as_test(
                Machine,
                settings=settings(
                    max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
                ),
            )
        finally:
            runner.run(database.close())


async def test_questions_that_come_at_once_are_asked_one_by_one(location: Location) -> None:
    proxies = [Database(location), Database(location)]
    stores = [ChatStore(proxy) for proxy in proxies]
    for store in stores:
        assert await store.chat("ann", "1") is None
    places = await asyncio.gather(
        *(stores[number % 2].ask("ann", "1", f"question {number}", "m", START) for number in range(20))
    )
    assert sorted(place.position for place in places) == list(range(2, 41, 2))
    await asyncio.gather(
        *(
            stores[number % 2].answer(place, f"answer {number}", complete=True, now=START)
            for number, place in enumerate(places)
        )
    )
    kept = await stores[0].messages("ann", "1", 0, 100, 10_000)
    pairs = [(question.content, answer.content) for question, answer in zip(kept[::2], kept[1::2], strict=True)]
    assert sorted(pairs) == sorted((f"question {number}", f"answer {number}") for number in range(20))
    for proxy in proxies:
        await proxy.close()


async def test_a_deleted_chat_leaves_no_messages(database: Database) -> None:
    store = ChatStore(database)
    await store.ask("ann", "1", "Hello?", "m", START)
    assert await store.delete("ann", "1")
    async with database.read() as transaction:
        assert (await transaction.execute(MESSAGES.select())).all() == []


async def test_a_question_of_a_proxy_whose_clock_is_behind_has_its_answer_too(database: Database) -> None:
    store = ChatStore(database)
    places = [await store.ask("ann", "1", "Hello?", "m", START + timedelta(seconds=ahead)) for ahead in (0, -5)]
    for place in places:
        assert await store.answer(place, "Hello.", complete=True, now=START)
    assert [said(message) for message in await store.messages("ann", "1", 0, 10, 1000)] == [
        ("user", "Hello?", True),
        ("assistant", "Hello.", True),
    ] * 2


async def test_many_old_chats_go_in_several_turns(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 3)
    store = ChatStore(database)
    for number in range(8):
        await store.ask("ann", f"{number}", "Hello?", "m", START + timedelta(seconds=number))
    assert await store.trim("ann", 4) == 3
    assert [await store.expire(START + timedelta(seconds=7)) for _ in range(3)] == [3, 1, 0]
    assert [chat.chat_id for chat in await store.chats("ann", 9, None)] == ["7"]


async def test_chats_that_are_forgotten_at_once_by_two_are_forgotten(location: Location) -> None:
    proxies = [Database(location), Database(location)]
    stores = [ChatStore(proxy) for proxy in proxies]
    for number in range(30):
        await stores[0].ask("ann", f"{number}", "Hello?", "m", START + timedelta(seconds=number))
    async with asyncio.timeout(30):
        await asyncio.gather(
            *(store.trim("ann", 5) for store in stores * 3),
            *(store.expire(START + timedelta(seconds=20)) for store in stores * 3),
            *(
                store.ask("ann", f"{number}", "Again?", "m", START + timedelta(minutes=1))
                for store in stores
                for number in range(3)
            ),
        )
        await stores[0].trim("ann", 5)
    assert [chat.chat_id for chat in await stores[1].chats("ann", 9, None)] == ["2", "1", "0", "29", "28"]
    for proxy in proxies:
        await proxy.close()


async def test_an_answer_and_a_deletion_never_wait_for_each_other(postgres: Cluster) -> None:
    database = Database(Postgres(await asyncio.to_thread(postgres.create)))
    store = ChatStore(database)
    place = await store.ask("ann", "1", "Hello?", "m", START)
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with database.write() as deletion:
        await deletion.execute(select(CHATS).with_for_update())
        answering = asyncio.create_task(store.answer(place, "Hello.", complete=True, now=START))
        async with asyncio.timeout(10):
            while not await deletion.scalar(waiting):
                await deletion.execute(text("SELECT pg_stat_clear_snapshot()"))
        await deletion.execute(delete(CHATS))
    assert not await answering
    await database.close()
