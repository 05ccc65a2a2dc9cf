"""Chats in use: a question is kept before it is asked, and its answer when it ends, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from proxy.chats.values import Chat, Message, Place
from proxy.storage.database import Stored
from proxy.storage.errors import StorageUnavailable

if TYPE_CHECKING:
    from proxy.chats.store import ChatStore

CHAT_STORE = "proxy.chats.store:ChatStore"

MAX_ANSWER = 1_000_000
"""Characters of an answer that are kept; one that is longer counts as incomplete."""
PAGE_CHARACTERS = 2_000_000
SAVE_SECONDS = 5.0
"""How often an answer is kept as far as it is written: what a killed process had said of it is not all lost."""
RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0)
"""How long an answer waits for the database between attempts to keep it."""
PATIENCE_SECONDS = 1.0
"""How long the end of an answer waits for it to be kept; and the end of the process, for all of them."""


SWEEP_SECONDS = 3600.0
"""How often chats that are kept no longer are looked for."""


class Answer:
    """An answer being written."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._room = MAX_ANSWER
        self._ended = False
        self.withdrawn = False
        self._over = asyncio.Event()

    def add(self, text: str) -> None:
        """More of it."""
        if self._room > 0:
            self._pieces.append(text[: self._room])
        self._room -= len(text)

    def end(self) -> None:
        """That was all of it."""
        self._ended = True

    def withdraw(self) -> None:
        """There is none, and its question is to be forgotten."""
        self.withdrawn = True

    def stop(self) -> None:
        """There will be no more of it, whether that was all or not."""
        self._over.set()

    async def stops(self, within: float) -> bool:
        """Wait for stop(), at most so many seconds; whether it came."""
        try:
            async with asyncio.timeout(within):
                return await self._over.wait()
        except TimeoutError:
            return False

    @property
    def complete(self) -> bool:
        """Whether all of it is here."""
        return self._ended and self._room >= 0

    @property
    def text(self) -> str:
        """What there is of it. No database of ours keeps NUL characters."""
        return "".join(self._pieces).replace("\x00", "\ufffd")


class Chats:
    """Owner of the chats, and of the answers that have yet to be kept. Raises StorageUnavailable while the database is away.

    most: chats of one owner, a new one takes the place of the one that was written to the longest ago; days: for which a chat
    is kept after it was last written to, 0 = for ever.
    """

    def __init__(
        self,
        stored: Stored[ChatStore],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        most: int = 1000,
        days: float = 0,
    ) -> None:
        self._stored = stored
        self._clock = clock
        self._most = most
        self._days = days
        self._sweeping: asyncio.Task[None] | None = None
        self._keeping: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("chats")

    @asynccontextmanager
    async def turn(self, owner: str, chat_id: str, question: str, model: str) -> AsyncIterator[Answer]:
        """Keep a question, and the answer that is written within the block: complete only if its end was said.

        One that is withdrawn goes with its question, as long as they are the last of the chat; one whose chat is deleted
        meanwhile goes with it.
        """
        store = await self._stored.get()
        place = await store.ask(owner, chat_id, question, model, self._clock())
        if place.first:
            await store.trim(owner, self._most)
        answer = Answer()
        # A task of its own: whoever is cancelled in the block because the client left keeps what was written, too.
        keeping = asyncio.create_task(self._keep(place, answer), name="keep answer")
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)
        try:
            yield answer
        finally:
            answer.stop()
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

    async def start(self) -> None:
        """Begin to forget chats whose time is over."""
        if self._days:
            self._sweeping = asyncio.create_task(self._keep_sweeping(), name="forget old chats")

    async def close(self) -> None:
        """Wait a moment for answers that are being kept."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=PATIENCE_SECONDS)
        for keeping in self._keeping:
            keeping.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)

    async def _keep_sweeping(self) -> None:
        while True:
            try:
                await self._sweep()
            except StorageUnavailable:
                pass  # the database has told why; next time, then
            except Exception:
                self._log.exception("old chats not forgotten")
            await asyncio.sleep(SWEEP_SECONDS)

    async def _sweep(self) -> None:
        """Forget the chats that nobody has written to for so many days."""
        if not await self._stored.present():
            return
        store, forgotten = await self._stored.get(), 0
        before = self._clock() - timedelta(days=self._days)
        while gone := await store.expire(before):
            forgotten += gone
        if forgotten:
            self._log.info("old chats forgotten", chats=forgotten)

    async def _keep(self, place: Place, answer: Answer) -> None:
        """Keep an answer: now and then while it is written, and at its end; while the database is away, try for a while."""
        try:
            while not await answer.stops(within=SAVE_SECONDS):
                await self._kept(place, answer)
            for seconds in (*RETRY_SECONDS, None):
                if await self._kept(place, answer):
                    return
                if seconds is not None:
                    await asyncio.sleep(seconds)
            self._log.error("answer not kept: the database stayed away", position=place.position)
        except Exception:
            self._log.exception("answer not kept", position=place.position)

    async def _kept(self, place: Place, answer: Answer) -> bool:
        """Write an answer as it is now; False when the database is away."""
        try:
            store = await self._stored.get()
            if answer.withdrawn:
                await store.withdraw(place)
            else:
                await store.answer(place, answer.text, complete=answer.complete, now=self._clock())
        except StorageUnavailable:
            return False
        return True
