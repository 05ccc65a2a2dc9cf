"""What listeners who come back have missed: a bounded past, without a clock or a loop."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import chain

from proxy.events.values import Event

RING = 256
"""Events kept of each session, and as many of those that concern everybody."""
MOST = 16_384
"""Events kept of all sessions; beyond them, those of the sessions that were quiet longest are forgotten."""


@dataclass(frozen=True, slots=True)
class Record:
    """An event in its place. seq grows over all events of the process; sid: None = everybody's; wall: seconds since 1970.

    corr: the id of the message or request that it answers.
    """

    seq: int
    sid: str | None
    event: Event
    wall: float
    mono_ns: int
    corr: str | None = None


@dataclass(frozen=True, slots=True)
class Missed:
    """What came after a place, in order; gap: something else came, too, and is forgotten."""

    records: tuple[Record, ...]
    gap: bool


class Ring:
    """The latest records of one stream. forgotten: seq of the newest record that is not here and should be."""

    def __init__(self, size: int, forgotten: int) -> None:
        self._size = size
        self._records: OrderedDict[int, Record] = OrderedDict()
        self._latest: dict[tuple[str, str], int] = {}
        self.forgotten = forgotten

    def add(self, record: Record) -> None:
        """Keep a record; what it supersedes goes first (and is no loss), then the oldest."""
        subject = record.event.subject
        if subject is not None:
            key = (record.event.kind, subject)
            self._records.pop(self._latest.get(key, -1), None)
            self._latest[key] = record.seq
        self._records[record.seq] = record
        while len(self._records) > self._size:
            self.forgotten, oldest = self._records.popitem(last=False)
            if oldest.event.subject is not None:
                self._latest.pop((oldest.event.kind, oldest.event.subject), None)

    def __len__(self) -> int:
        return len(self._records)

    def after(self, seq: int) -> list[Record]:
        """The records behind a place."""
        return [record for record in self._records.values() if record.seq > seq]

    @property
    def last(self) -> int:
        """The newest seq that this stream ever had here."""
        return next(reversed(self._records), self.forgotten)


class Past:
    """The rings of all sessions, and the one of what concerns everybody.

    first: the seq before which nothing is known; step: between two.
    """

    def __init__(self, first: int, step: int = 1, *, ring: int = RING, most: int = MOST) -> None:
        self._size = ring
        self._most = most
        self._count = 0
        self._first = first
        self._step = step
        self._everybody = Ring(ring, first - step)
        self._rings: OrderedDict[str, Ring] = OrderedDict()
        self._forgotten = first - step
        self.last = first - step

    def add(self, record: Record) -> None:
        """Keep a record; its seq is higher than all before."""
        self.last = record.seq
        if record.sid is None:
            self._everybody.add(record)
            return
        ring = self._rings.pop(record.sid, None)
        if ring is None:
            ring = Ring(self._size, self._forgotten)
        self._count -= len(ring)
        ring.add(record)
        self._count += len(ring)
        self._rings[record.sid] = ring
        while self._count > self._most:
            _, dropped = self._rings.popitem(last=False)
            self._count -= len(dropped)
            self._forgotten = max(self._forgotten, dropped.last)

    def after(self, seq: int, sid: str | None) -> Missed:
        """What a listener of a session (None: of what concerns everybody alone) has missed since `seq`."""
        own = self._rings.get(sid) if sid is not None else None
        forgotten = self._everybody.forgotten
        if sid is not None:
            forgotten = max(forgotten, self._forgotten if own is None else own.forgotten)
        if seq > self.last or (seq > 0 and (seq - self._first) % self._step):
            return Missed((), gap=True)  # a place in another server's events, or in none
        found = chain(self._everybody.after(seq), [] if own is None else own.after(seq))
        return Missed(tuple(sorted(found, key=lambda record: record.seq)), gap=seq < forgotten)

    def forget(self, sid: str) -> None:
        """Drop a session's ring: the session is no more, and nobody will ask."""
        if (ring := self._rings.pop(sid, None)) is not None:
            self._count -= len(ring)
