"""Several proxies on one PostgreSQL database: what happens at one is told to those who listen at another."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeAlias

import structlog

from proxy.events.bus import Bus
from proxy.events.letters import Letter, Mailbox, written
from proxy.events.replay import Record
from proxy.events.values import CloseReason, EventsMissed, SessionClosed
from proxy.storage.location import Postgres
from proxy.storage.notices import LONGEST, Notices

Close: TypeAlias = Callable[[str, CloseReason, str | None], Awaitable[None]]


class Replicas:
    """This proxy among its like. close: ends a session here that was ended elsewhere.

    Events that were told elsewhere have numbers of their own here, in the order in which they came.
    """

    def __init__(self, location: Postgres, bus: Bus, close: Close) -> None:
        self._name = secrets.token_hex(8)
        self._bus = bus
        self._close = close
        self._count = 0
        self._mailbox = Mailbox(self._name)
        self._notices = Notices(location, self._hear, self._missed)
        self._tasks: set[asyncio.Task[None]] = set()
        bus.also_tell(self._tell)

    async def start(self) -> None:
        """Listen and tell from now on."""
        self._spawn(self._notices.run(), "events of other proxies")

    async def stop(self) -> None:
        """Tell what there is to be told, and listen no more."""
        await self._notices.flush()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tell(self, record: Record) -> None:
        self._count += 1
        letter = Letter(
            sender=self._name,
            number=self._count,
            event=record.event,
            wall=record.wall,
            sid=record.sid,
            corr=record.corr,
        )
        self._notices.send(written(letter, LONGEST))

    def _hear(self, text: str) -> None:
        received = self._mailbox.read(text)
        letter = received.letter
        if received.missed_since is not None:
            self._missed(received.missed_since)
        if letter is None:
            return
        if isinstance(letter.event, SessionClosed) and letter.sid is not None:
            self._spawn(self._close(letter.sid, letter.event.reason, letter.corr), "end a session")
        else:
            self._bus.hear(letter.event, letter.sid, letter.corr, letter.wall)

    def _missed(self, since: float) -> None:
        """Say that there were events of which nobody here knows."""
        moment = datetime.fromtimestamp(since, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        structlog.get_logger("events").warning("events of other proxies were missed", since=moment)
        self._bus.hear(EventsMissed(since=moment))

    def _spawn(self, work: Awaitable[None], name: str) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
