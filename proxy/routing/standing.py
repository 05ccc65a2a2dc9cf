"""What choosing knows of a replica: what its engine said last, and what it was sent since."""

from __future__ import annotations

from dataclasses import dataclass

from backends.base import Gauges
from proxy.routing.policy import Candidate
from proxy.routing.prefixes import BLOCK, Blocks, Prefixes

STALE = 5.0
"""Seconds after which an engine's figures say nothing of now."""
WAITING = 4.0
"""What a request that waits counts, where one that runs counts 1."""
TOKEN = 4
"""Bytes of text that a token is taken for."""
MOST_HELD = 65_536
"""Blocks of prompts that are remembered of a replica: 16 MiB of text, about 4 million tokens."""
ADMITTED = 0.5
"""Seconds before an engine says that nothing waits: what it was sent until then it has begun."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An engine's figures. at: on the loop's clock; in_flight: how many requests this proxy had there then."""

    gauges: Gauges
    at: float
    in_flight: int


class Sent:
    """A prompt on its way: until begun(), its blocks are work that lies before the next one's."""

    __slots__ = ("_standing", "at", "blocks")

    def __init__(self, standing: Standing, blocks: int, at: float) -> None:
        self._standing = standing
        self.blocks = blocks
        self.at = at

    def begun(self) -> None:
        """Its first token is there, or it has ended without. Once or more often."""
        self._standing.done(self)


class Standing:
    """Of one replica. number: tells it from the others, the same in every proxy; ahead: blocks that it was sent and has yet to
    compute; silent: why its engine tells no figures; most: blocks of prompts to remember, whatever its cache has room for.
    """

    __slots__ = ("_underway", "ahead", "most", "number", "prefixes", "reading", "silent")

    def __init__(self, number: int, most: int = MOST_HELD) -> None:
        self.number = number
        self.most = most
        self.prefixes = Prefixes()
        self.reading: Reading | None = None
        self.silent: str | None = None
        self.ahead = 0
        self._underway: dict[Sent, None] = {}

    def send(self, blocks: Blocks, now: float) -> Sent:
        """A request with this prompt goes there."""
        sent = Sent(self, len(blocks) - self.prefixes.matched(blocks), now)
        self.prefixes.add(blocks, self._held())
        self.ahead += sent.blocks
        self._underway[sent] = None
        return sent

    def done(self, sent: Sent) -> None:
        """See Sent.begun."""
        if sent in self._underway:
            del self._underway[sent]
            self.ahead -= sent.blocks

    def read(self, gauges: Gauges, now: float, in_flight: int) -> None:
        """What the engine says now. Where nothing waits, what it was sent before has begun, though nobody saw its first token."""
        self.reading = Reading(gauges, now, in_flight)
        self.silent = None
        if not gauges.waiting:
            for sent in [each for each in self._underway if each.at <= now - ADMITTED]:
                self.done(sent)

    def _held(self) -> int:
        """How many blocks of prompts its cache may have: as many as it says that it has room for."""
        told = None if self.reading is None else self.reading.gauges.cache_tokens
        return self.most if told is None else min(self.most, max(1, told * TOKEN // BLOCK))

    def forget(self) -> None:
        """The engine was started anew, or slept: its cache is empty."""
        self.prefixes.clear()

    def candidate(
        self,
        in_flight: int,
        blocks: Blocks,
        now: float,
        *,
        group: str = "",
        usable: bool = True,
        room: bool = True,
        priority: int = 0,
        weight: float | None = None,
    ) -> Candidate:
        """The replica at this moment, for a prompt of these blocks."""
        reading = self.reading
        if reading is not None and now - reading.at > STALE:
            reading = None
        used = (reading.gauges.kv or 0.0) if reading is not None else 0.0
        matched = self.prefixes.matched(blocks) if blocks else 0
        uses = self.prefixes.uses(blocks[matched - 1]) if matched else 0
        busy = load(in_flight, reading)
        return Candidate(
            self.number, group, busy, in_flight, self.ahead, matched, uses, used, usable, room, priority, weight
        )


def load(in_flight: int, reading: Reading | None) -> float:
    """Requests at a replica, those that wait counted fourfold; just this proxy's own where its engine says nothing.

    Between two readings the engine's figures move on with what was sent there and what has ended since: a replica that
    looked idle does not get everything until the next one.
    """
    if reading is None:
        return in_flight
    gauges, since = reading.gauges, in_flight - reading.in_flight
    total = max(in_flight, gauges.running + gauges.waiting + since)
    waiting = min(total, max(0.0, gauges.waiting + since)) if gauges.waiting else 0.0
    return total + (WAITING - 1.0) * waiting
