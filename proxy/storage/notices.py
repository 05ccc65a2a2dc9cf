"""Short texts between the proxies of one PostgreSQL database (LISTEN, NOTIFY), over a connection of its own."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

import structlog

from proxy.storage.location import Postgres

if TYPE_CHECKING:
    import asyncpg

CHANNEL = "switchboard_events"
LONGEST = 7900
"""Bytes of one notice; PostgreSQL takes less than 8000."""
ROOM = 4096
"""Notices that may wait while there is no connection; then the oldest go."""
BATCH = 64
PING_SECONDS = 10.0
"""A connection over which nothing was sent for so long is tried."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds between two attempts to connect; each is twice the one before."""
FLUSH_SECONDS = 1.0

# In the order of the array: receivers put long texts together from pieces.
SEND = """
    SELECT pg_notify($1, text) FROM unnest($2::text[]) WITH ORDINALITY AS notices(text, place) ORDER BY place
"""


class Notices:
    """Owner of the connection. hear: takes what any proxy sent, this one included, in the order in which it was sent.

    regained: told that there is a connection again, and since when (seconds since 1970) others may have gone unheard.
    """

    def __init__(self, location: Postgres, hear: Callable[[str], None], regained: Callable[[float], None]) -> None:
        self._location = location
        self._hear = hear
        self._regained = regained
        self._waiting: deque[str] = deque(maxlen=ROOM)
        self._news = asyncio.Event()
        self._sent = asyncio.Event()
        self._deaf_since: float | None = None
        self._log = structlog.get_logger("database")

    def send(self, texts: Iterable[str]) -> None:
        """Have these sent, as soon as may be. Each is ASCII, and LONGEST at most."""
        self._waiting.extend(texts)
        self._sent.clear()
        self._news.set()

    async def run(self) -> None:
        """Listen and send for good, also while the database comes and goes."""
        postgres = await asyncio.to_thread(import_module, "proxy.storage.postgres")
        pause = FIRST_PAUSE
        while True:
            try:
                connection: asyncpg.Connection = await postgres.connect(self._location)
                try:
                    await connection.add_listener(CHANNEL, lambda *notice: self._hear(notice[-1]))
                    pause = FIRST_PAUSE
                    await self._serve(connection)
                finally:
                    connection.terminate()
            except postgres.NO_CONNECTION as error:
                self._deaf_since = self._deaf_since or time.time()
                self._log.warning("no events of other proxies", cause=repr(error), again_in=pause)
            except Exception:
                self._deaf_since = self._deaf_since or time.time()
                self._log.exception("events of other proxies failed")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def flush(self) -> None:
        """Wait until all is sent, if that does not take long."""
        if self._waiting:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._sent.wait(), FLUSH_SECONDS)

    async def _serve(self, connection: asyncpg.Connection) -> None:
        """Send what there is, until the connection ends. Raises one of NO_CONNECTION."""
        connection.add_termination_listener(lambda _: self._news.set())
        if self._deaf_since is not None:
            self._regained(self._deaf_since)
            self._deaf_since = None
        while True:
            self._news.clear()
            if connection.is_closed():
                raise ConnectionResetError("the connection was closed")
            if not self._waiting:
                self._sent.set()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), PING_SECONDS)
                    continue
            batch = list(self._waiting)[:BATCH]
            await (connection.execute(SEND, CHANNEL, batch) if batch else connection.execute("SELECT 1"))
            # What was sent is taken off when that is sure: it may be heard twice, and is told once.
            for text in batch:
                if self._waiting and self._waiting[0] == text:
                    self._waiting.popleft()
