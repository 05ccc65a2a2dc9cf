"""How much work may wait: beyond that a caller is told at once when to come again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backends.errors import Overloaded

# Seconds of work that the measured speed looks back on, mostly.
MEMORY = 60.0
LONGEST_WAIT = 600.0


class Admission:
    """Counts the cost of the work that is accepted and not done (seconds of audio, say), and how fast it gets done."""

    def __init__(self, name: str, limit: float, *, unit: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._limit = limit
        self._unit = unit
        self._clock = clock
        self._queued = 0.0
        self._done = 0.0
        self._busy = 0.0
        self._since: float | None = None

    @property
    def queued(self) -> float:
        """The cost accepted and not done."""
        return self._queued

    @contextmanager
    def admit(self, cost: float) -> Iterator[Callable[[float], None]]:
        """Hold cost until it is done; yields the function to tell of parts that are. What is left ends with the block.

        Something larger than the limit is taken when nothing else waits. Raises Overloaded with the time after which
        there is room, from the speed at which work got done lately.
        """
        if self._queued and self._queued + cost > self._limit:
            raise Overloaded(
                f"{self._name} has {self._queued:.0f} {self._unit} waiting, and {self._limit:.0f} is the most; "
                f"try again later.",
                retry_after=self._wait(cost),
            )
        self._account(0.0)
        self._queued += cost
        left = cost

        def done(part: float) -> None:
            nonlocal left
            part = min(part, left)
            left -= part
            self._account(part)

        try:
            yield done
        finally:
            self._account(0.0)
            self._queued = max(0.0, self._queued - left)
            if not self._queued:
                self._since = None

    def _account(self, part: float) -> None:
        """Count part as done, and the time since the last count as busy when anything waited."""
        now = self._clock()
        if self._since is not None:
            self._busy += now - self._since
        self._since = now
        self._queued -= part
        self._done += part
        if self._busy > MEMORY:
            self._done *= MEMORY / self._busy
            self._busy = MEMORY

    def _wait(self, cost: float) -> float:
        """Seconds until there is room for cost, as fast as work gets done."""
        speed = self._done / self._busy if self._done and self._busy else 1.0
        excess = self._queued + min(cost, self._limit) - self._limit
        return min(max(1.0, excess / speed), LONGEST_WAIT)
