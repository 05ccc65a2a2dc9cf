"""Reading fast streams in rounds while there are many of them: what an engine wrote within a moment is passed on in one piece.

Waking up, reading and writing cost as much for one event as for ten, and nobody reads a hundred events a second. A stream's
first events are never late, so the time to the first token does not grow (docs/decisions/007-reading-in-rounds.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

CROWD = 16  # exchanges at once from which on it is done: below that, the CPU has time for each event
EACH = 0.00025  # seconds between two rounds for each exchange: reading them all is then a few per cent of a core, however many
SHORTEST = (
    0.002  # seconds between two rounds at least: the loop's timers count in milliseconds, and less would be no pause
)
FASTER = 1.4  # events between two rounds that make it worth while


class Source(Protocol):
    """A connection that is not read when bytes come, but when it is asked to."""

    def read_now(self) -> None:
        """Take the bytes that have come, if any have."""

    def leave_rounds(self) -> None:
        """Be read when bytes come again."""


class Rounds:
    """The streams of one engine that are read in rounds, by one timer. longest: seconds between two rounds, 0 = never."""

    def __init__(self, longest: float, in_flight: Callable[[], int]) -> None:
        self._longest = longest
        self._in_flight = in_flight
        self._sources: dict[Source, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def worth_while(self, reads: int, seconds: float) -> bool:
        """Whether a stream that was read `reads` times in `seconds` should be read in rounds."""
        if not self._longest or self._in_flight() < CROWD:
            return False
        return seconds * FASTER < reads * self._moment()

    def join(self, source: Source) -> None:
        """Have `source` read in each round."""
        self._sources[source] = None
        if self._timer is None:
            self._wait()

    def leave(self, source: Source) -> None:
        """No more."""
        self._sources.pop(source, None)

    def _round(self) -> None:
        self._timer = None
        sources = tuple(self._sources)
        if self._in_flight() < CROWD:
            for source in sources:
                source.leave_rounds()
            return
        if sources:
            self._wait()
        for source in sources:
            source.read_now()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._moment(), self._round)

    def _moment(self) -> float:
        return max(min(self._longest, self._in_flight() * EACH), SHORTEST)
