"""Chats in the database: a question and the place for its answer are one transaction, the answer is another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate, takewhile
from typing import cast

from sqlalchemy import ColumnElement, Label, Row, Table, and_, delete, func, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.chats.values import Chat, Message, Place, Role
from proxy.storage.database import Database
from proxy.storage.tables import CHATS, MESSAGES

COMPLETE, INCOMPLETE = "complete", "incomplete"
AT_ONCE = 200
"""How many chats are forgotten in one transaction, for which others wait."""
_INSERT: Mapping[str, Callable[[Table], postgresql.Insert | sqlite.Insert]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
}


class ChatStore:
    """Owner of the tables `chats` and `messages`. What a method did is on the disk by its end. All raise StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self, owner: str, chat_id: str, question: str, model: str, now: datetime) -> Place:
        """Keep a question, and a place for its answer: incomplete until somebody says otherwise.

        Of questions that come at once, one is asked first: each has its answer next to it.
        """
        async with self._database.write() as transaction:
            chat = _INSERT[transaction.dialect.name](CHATS).values(
                owner=owner, chat_id=chat_id, created=now, updated=now
            )
            # The chat's row is locked by this, also where nothing changes: others wait for their turn.
            await transaction.execute(
                chat.on_conflict_do_update(
                    index_elements=[CHATS.c.owner, CHATS.c.chat_id],
                    set_={"updated": chat.excluded.updated},
                )
            )
            last = select(func.max(MESSAGES.c.position)).where(_in_chat(owner, chat_id))
            position = ((await transaction.execute(last)).scalar() or 0) + 1
            message = {"owner": owner, "chat_id": chat_id, "created": now}
            user = {"position": position, "role": "user", "content": question, "state": COMPLETE, "model": None}
            answer = {
                "position": position + 1,
                "role": "assistant",
                "content": "",
                "state": INCOMPLETE,
                "model": model,
            }
            await transaction.execute(insert(MESSAGES), [message | user, message | answer])
        return Place(owner, chat_id, position + 1, now)

    async def answer(self, place: Place, text: str, *, complete: bool, now: datetime) -> bool:
        """Keep an answer in its place; False when its chat was deleted meanwhile."""
        chat = and_(CHATS.c.owner == place.owner, CHATS.c.chat_id == place.chat_id)
        here = and_(
            _in_chat(place.owner, place.chat_id),
            MESSAGES.c.position == place.position,
            MESSAGES.c.created == place.asked,
        )
        state = COMPLETE if complete else INCOMPLETE
        async with self._database.write() as transaction:
            # The chat first, as everyone who locks both: else this and a deletion would wait for each other.
            await transaction.execute(select(CHATS.c.chat_id).where(chat).with_for_update())
            kept = await transaction.execute(update(MESSAGES).where(here).values(content=text, state=state))
            if kept.rowcount:
                await transaction.execute(update(CHATS).where(chat, CHATS.c.updated < now).values(updated=now))
            return kept.rowcount > 0

    async def withdraw(self, place: Place) -> bool:
        """Forget a question and the place for its answer, with the chat that began with them; False where others follow."""
        chat = and_(CHATS.c.owner == place.owner, CHATS.c.chat_id == place.chat_id)
        here = _in_chat(place.owner, place.chat_id)
        async with self._database.write() as transaction:
            await transaction.execute(select(CHATS.c.chat_id).where(chat).with_for_update())
            last = select(MESSAGES.c.position, MESSAGES.c.created).where(here).order_by(MESSAGES.c.position.desc())
            found = (await transaction.execute(last.limit(1))).one_or_none()
            if found is None or tuple(found) != (place.position, place.asked):
                return False
            await transaction.execute(delete(MESSAGES).where(here, MESSAGES.c.position >= place.position - 1))
            if place.first:
                await transaction.execute(delete(CHATS).where(chat))
            return True

    async def chats(self, owner: str, limit: int, before: tuple[datetime, str] | None) -> Sequence[Chat]:
        """The owner's chats, those that were last written to first. before: (updated, chat_id) of the last one known."""
        asked = select(CHATS, _length_of_chat()).where(CHATS.c.owner == owner)
        if before is not None:
            asked = asked.where(tuple_(CHATS.c.updated, CHATS.c.chat_id) < before)
        asked = asked.order_by(CHATS.c.updated.desc(), CHATS.c.chat_id.desc()).limit(limit)
        async with self._database.read() as transaction:
            return [_chat(row) for row in await transaction.execute(asked)]

    async def chat(self, owner: str, chat_id: str) -> Chat | None:
        """The owner's chat of this id."""
        asked = select(CHATS, _length_of_chat()).where(CHATS.c.owner == owner, CHATS.c.chat_id == chat_id)
        async with self._database.read() as transaction:
            row = (await transaction.execute(asked)).one_or_none()
        return None if row is None else _chat(row)

    async def messages(self, owner: str, chat_id: str, after: int, limit: int, characters: int) -> Sequence[Message]:
        """The messages behind position `after`, in order: at most `limit`, and not many more characters than asked for."""
        here = and_(_in_chat(owner, chat_id), MESSAGES.c.position > after)
        sizes = select(func.length(MESSAGES.c.content)).where(here).order_by(MESSAGES.c.position).limit(limit)
        asked = select(MESSAGES).where(here).order_by(MESSAGES.c.position)
        async with self._database.read() as transaction:
            before = accumulate((await transaction.execute(sizes)).scalars(), initial=0)
            fitting = min(limit, sum(1 for _ in takewhile(lambda size: size < characters, before)))
            return [_message(row) for row in await transaction.execute(asked.limit(fitting))]

    async def delete(self, owner: str, chat_id: str) -> bool:
        """Forget a chat with all its messages; False when there was none."""
        async with self._database.write() as transaction:
            gone = await transaction.execute(delete(CHATS).where(CHATS.c.owner == owner, CHATS.c.chat_id == chat_id))
            return gone.rowcount > 0

    async def trim(self, owner: str, most: int) -> int:
        """Forget the owner's chats but for the `most` that were last written to, a few hundred at once; returns how many."""
        mine = CHATS.c.owner == owner
        newest = (
            select(CHATS.c.updated, CHATS.c.chat_id)
            .where(mine)
            .order_by(CHATS.c.updated.desc(), CHATS.c.chat_id.desc())
        )
        async with self._database.write() as transaction:
            kept = (await transaction.execute(newest.offset(most - 1).limit(1))).one_or_none()
            if kept is None:
                return 0
            return await _forget(transaction, mine & (tuple_(CHATS.c.updated, CHATS.c.chat_id) < tuple(kept)), AT_ONCE)

    async def expire(self, before: datetime) -> int:
        """Forget chats that were last written to before then, a few hundred at once; returns how many, 0 = there are no more."""
        async with self._database.write() as transaction:
            return await _forget(transaction, CHATS.c.updated < before, AT_ONCE)


async def _forget(transaction: AsyncConnection, which: ColumnElement[bool], most: int) -> int:
    # Those that somebody else has locked are being written to, or forgotten: nobody waits for another one here.
    keys = select(CHATS.c.owner, CHATS.c.chat_id).where(which).limit(most).with_for_update(skip_locked=True)
    found = [tuple(row) for row in await transaction.execute(keys)]
    if found:
        await transaction.execute(delete(CHATS).where(tuple_(CHATS.c.owner, CHATS.c.chat_id).in_(found)))
    return len(found)


def _in_chat(owner: str, chat_id: str) -> ColumnElement[bool]:
    return and_(MESSAGES.c.owner == owner, MESSAGES.c.chat_id == chat_id)


def _length_of_chat() -> Label[int]:
    # Messages are added at the end, and never taken out.
    here = and_(MESSAGES.c.owner == CHATS.c.owner, MESSAGES.c.chat_id == CHATS.c.chat_id)
    return select(func.max(MESSAGES.c.position)).where(here).scalar_subquery().label("messages")


def _chat(row: Row[tuple[object, ...]]) -> Chat:
    found = row._mapping
    return Chat(
        chat_id=found["chat_id"], created=found["created"], updated=found["updated"], messages=found["messages"]
    )


def _message(row: Row[tuple[object, ...]]) -> Message:
    found = row._mapping
    return Message(
        position=found["position"],
        role=cast("Role", found["role"]),
        content=found["content"],
        complete=found["state"] == COMPLETE,
        model=found["model"],
        created=found["created"],
    )
