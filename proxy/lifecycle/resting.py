"""When an engine that nobody asks sleeps, and how deeply; and when one that keeps failing may be started again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal[0, 1, 2]
"""Of sleep: 1 = the weights wait in the host's memory, 2 = they are gone; 0 = the engine is stopped."""

STABLE_SECONDS = 60.0
"""After which an engine that ends by itself has not failed to start."""
LONGEST_PAUSE = 300.0


def depth(deepest: Level, *, able: bool, held_mb: float | None, host_mb: float, pressed: bool) -> Level:
    """How an engine rests. deepest: as configured; able: it can sleep on this machine.

    held_mb: on the device; host_mb: free in the host's memory, to which level 1 moves the weights, a part of what is held;
    pressed: the host's memory is short already.
    """
    if not able or deepest == 0:
        return 0
    if deepest == 1:
        return 0 if pressed else 1
    return 1 if held_mb is not None and held_mb <= host_mb and not pressed else 2


@dataclass(frozen=True, slots=True)
class Failures:
    """Ends that nobody asked for, in a row. last: when the latest came, in seconds of one clock."""

    count: int = 0
    last: float = 0.0

    def another(self, now: float, up_seconds: float) -> Failures:
        """One more. up_seconds: for which the engine had served by then, 0 = it never did."""
        return Failures(1 if up_seconds >= STABLE_SECONDS else self.count + 1, now)

    def wait(self, now: float) -> float:
        """Seconds until the next start. The first failure costs nothing; then each one twice as much as the one before."""
        if self.count < 2:
            return 0.0
        pause = min(LONGEST_PAUSE, 2.0 ** min(self.count - 1, 16))
        return max(0.0, self.last + pause - now)
