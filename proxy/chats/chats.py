"""Chats in use: a question is kept before it is asked, and its answer when it ends, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from proxy.chats.values import Chat, Message, Place
from proxy.errors import ApiError
from proxy.storage.database import Stored

if TYPE_CHECKING:
    from proxy.chats.store import ChatStore

CHAT_STORE = "proxy.chats.store:ChatStore"

MAX_ANSWER = 1_000_000
"""Characters of an answer that are kept; one that is longer counts as incomplete."""
PAGE_CHARACTERS = 2_000_000
RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0)
"""How long an answer waits for the database between attempts to keep it."""
PATIENCE_SECONDS = 1.0
"""How long the end of an answer waits for it to be kept; and the end of the process, for all of them."""


class Answer:
    """An answer being written."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._room = MAX_ANSWER
        self._ended = False

    def add(self, text: str) -> None:
        """More of it."""
        if self._room > 0:
            self._pieces.append(text[: self._room])
        self._room -= len(text)

    def end(self) -> None:
        """That was all of it."""
        self._ended = True

    @property
    def complete(self) -> bool:
        """Whether all of it is here."""
        return self._ended and self._room >= 0

    @property
    def text(self) -> str:
        """What there is of it. No database of ours keeps NUL characters."""
        return "".join(self._pieces).replace("\x00", "\ufffd")


class Chats:
    """Owner of the chats, and of the answers that have yet to be kept. Raises StorageUnavailable while the database is away."""

    def __init__(self, stored: Stored[ChatStore], clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._stored = stored
        self._clock = clock
        self._keeping: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("chats")

    @asynccontextmanager
    async def turn(self, owner: str, chat_id: str, question: str, model: str) -> AsyncIterator[Answer]:
        """Keep a question, and the answer that is written within the block: complete only if its end was said.

        An answer whose chat is deleted meanwhile goes with it.
        """
        place = await (await self._stored.get()).ask(owner, chat_id, question, model, self._clock())
        answer = Answer()
        try:
            yield answer
        finally:
            # In a task of its own: whoever is cancelled here because the client left keeps what was written, too.
            keeping = asyncio.create_task(self._keep(place, answer), name="keep answer")
            self._keeping.add(keeping)
            keeping.add_done_callback(self._keeping.discard)
            await asyncio.wait({keeping}, timeout=PATIENCE_SECONDS)

    async def all(self, owner: str, limit: int, before: tuple[datetime, str] | None = None) -> Sequence[Chat]:
        """The owner's chats, those that were last written to first. before: (updated, chat_id) of the last one known."""
        return await (await self._stored.get()).chats(owner, limit, before)

    async def get(self, owner: str, chat_id: str, after: int, limit: int) -> tuple[Chat, Sequence[Message]] | None:
        """The owner's chat and its messages behind position `after`, at most `limit` and some two million characters."""
        store = await self._stored.get()
        chat = await store.chat(owner, chat_id)
        return None if chat is None else (chat, await store.messages(owner, chat_id, after, limit, PAGE_CHARACTERS))

    async def delete(self, owner: str, chat_id: str) -> bool:
        """Forget the owner's chat; False when there was none."""
        return await (await self._stored.get()).delete(owner, chat_id)

    async def close(self) -> None:
        """Wait a moment for answers that are being kept."""
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=PATIENCE_SECONDS)
        for keeping in self._keeping:
            keeping.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)

    async def _keep(self, place: Place, answer: Answer) -> None:
        """Keep an answer; while the database is away, try again for a while."""
        text, complete, now = answer.text, answer.complete, self._clock()
        for seconds in (*RETRY_SECONDS, 0.0):
            try:
                await (await self._stored.get()).answer(place, text, complete=complete, now=now)
            except ApiError:
                await asyncio.sleep(seconds)
            except Exception:
                self._log.exception("answer not kept", position=place.position)
                return
            else:
                return
        self._log.error("answer not kept: the database stayed away", position=place.position)
