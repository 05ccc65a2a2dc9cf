"""Events to whoever listens, in this process: publishing never waits, and a listener who does not keep up is let go."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from proxy.events.replay import Missed, Past, Record
from proxy.events.values import Event, SessionClosed

ROOM = 512
"""Events that may wait for one listener."""
SERVERS = 2048
"""Between two numbers of one process, so that those of another, which began elsewhere, lie between them."""
PACED = 4096
"""Subjects whose pace is remembered at once; more than there are models."""


def first_number(milliseconds: int, server: int) -> int:
    """The seq with which a process begins, SERVERS apart from each next; JavaScript's numbers hold it until 2109.

    Counted from the clock (since 1970), no event of an earlier process has it. server: any of SERVERS, by chance.
    """
    return milliseconds * SERVERS + server


class Listener:
    """One reader of events. dropped: set when it let too many wait; it gets no more, and may come back to resume.

    read_out: set while it waits for the next, having dealt with all others.
    """

    def __init__(self, sid: str | None, room: int) -> None:
        self.sid = sid
        self.dropped = asyncio.Event()
        self._waiting: deque[Record] = deque()
        self._room = self._limit = room
        self._news = asyncio.Event()
        self.read_out = asyncio.Event()

    def put(self, record: Record) -> bool:
        """Let a record wait; False when there is no room for it."""
        if len(self._waiting) >= self._limit:
            self.dropped.set()
            return False
        self._waiting.append(record)
        self.read_out.clear()
        self._news.set()
        return True

    def begin_with(self, records: Sequence[Record]) -> None:
        """Forget what waits, and let these wait instead, beside as many as ever."""
        self._waiting = deque(records)
        self._limit = self._room + len(records)
        self.read_out.clear()
        self._news.set()

    async def next(self) -> Record:
        """The next record, as soon as there is one."""
        while not self._waiting:
            self.read_out.set()
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()


class Bus:
    """Owner of the listeners and of the past. Everything happens on the event loop's thread.

    first: the seq of the first event; step: between two. Numbers that no other process gives let those who come back after a
    restart, or to another proxy, know that they missed something. now: nanoseconds; wall: seconds.
    """

    def __init__(
        self,
        first: int = 1,
        step: int = 1,
        *,
        room: int = ROOM,
        now: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._past = Past(first, step)
        self._step = step
        self._room = room
        self._now = now
        self._wall = wall
        self._listeners: dict[str | None, set[Listener]] = {}
        self._told: dict[tuple[str, str], int] = {}
        self._others: list[Callable[[Record], None]] = []

    @property
    def seq(self) -> int:
        """Of the latest event."""
        return self._past.last

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return sum(len(group) for group in self._listeners.values())

    def publish(self, event: Event, sid: str | None = None, corr: str | None = None) -> None:
        """Tell everybody, or those of one session. Never waits; an event ahead of its kind's pace is left out.

        corr: the id of the message or request that it answers.
        """
        record = self._told_here(event, sid, corr, self._wall())
        if record is not None:
            for tell in self._others:
                tell(record)

    def hear(self, event: Event, sid: str | None = None, corr: str | None = None, wall: float | None = None) -> None:
        """As publish, for what happened at another proxy: it is told here alone. wall: when it happened, None = now."""
        self._told_here(event, sid, corr, self._wall() if wall is None else wall)

    def also_tell(self, tell: Callable[[Record], None]) -> None:
        """Have whatever is published here passed on, too. tell: must not wait."""
        self._others.append(tell)

    @contextmanager
    def listen(self, sid: str | None) -> Iterator[Listener]:
        """Hear from now on what concerns everybody and, if one is named, a session."""
        listener = Listener(sid, self._room)
        self._set(sid, self._listeners.get(sid, set()) | {listener})
        try:
            yield listener
        finally:
            self._set(sid, self._listeners.get(sid, set()) - {listener})

    def resume(self, listener: Listener, after: int) -> Missed:
        """Let it begin with what came after this seq, as far as that is known, whatever it has read; what that is."""
        missed = self._past.after(after, listener.sid)
        listener.begin_with(missed.records)
        return missed

    def _told_here(self, event: Event, sid: str | None, corr: str | None, wall: float) -> Record | None:
        mono_ns = self._now()
        if event.pace and not self._due(event, mono_ns):
            return None
        record = Record(self._past.last + self._step, sid, event, wall, mono_ns, corr)
        self._past.add(record)
        groups = list(self._listeners) if sid is None else [sid]
        for group in groups:
            members = self._listeners.get(group, set())
            # Whoever loses an event would not know what it knows: it leaves, and may come back to resume.
            self._set(group, {listener for listener in members if listener.put(record)})
        if sid is not None and isinstance(event, SessionClosed):
            self._past.forget(sid)
        return record

    def _set(self, sid: str | None, members: set[Listener]) -> None:
        if members:
            self._listeners[sid] = members
        else:
            self._listeners.pop(sid, None)

    def _due(self, event: Event, now: int) -> bool:
        key = (event.kind, event.subject or "")
        before = self._told.pop(key, None)
        due = before is None or now - before >= event.pace * 1e9
        self._told[key] = now if due else (before or 0)
        if len(self._told) > PACED:
            del self._told[next(iter(self._told))]
        return due
