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
FASTER = 1.4  # events between two rounds that make it worth while


class Source(Protocol):
    """A connection that is not read when bytes come, but when it is asked to."""

    def read_now(self) -> None:
        """Take the bytes that have come, if any have."""


class Rounds:
    """The streams of one engine that are read in rounds, by one timer. longest: seconds between two rounds, 0 = never."""

    def __init__(self, longest: float, in_flight: Callable[[], int]) -> None:
        self._longest = longest
        self._in_flight = in_flight
        self._sources: dict[Source, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def worth_while(self, reads: int, seconds: float) -> bool:
        """Whether a stream that was read `reads` times in `seconds` should be read in rounds."""
        if seconds * FASTER >= reads * self._longest:
            return False
        crowd = self._in_flight()
        return crowd >= CROWD and seconds * FASTER < reads * self._moment(crowd)

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
        if sources:
            self._wait()
        for source in sources:
            source.read_now()

    def _wait(self) -> None:
        moment = self._moment(self._in_flight())
        self._timer = asyncio.get_running_loop().call_later(moment, self._round)

    def _moment(self, crowd: int) -> float:
        return min(self._longest, crowd * EACH)
