"""What is measured of a model's work: the latest outcomes, never more than fit a window."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

WINDOW = 1000
RATE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Summary:
    """Of the latest outcomes. mean, p95, latest: in seconds, None before the first success; rate: successes per second."""

    count: int
    error_rate: float
    mean: float | None
    p95: float | None
    latest: float | None
    rate: float


class Figures:
    """The latest inferences of one model: when they ended, how long they took, and which failed. Times in seconds."""

    def __init__(self, window: int = WINDOW) -> None:
        self._durations: deque[float] = deque(maxlen=window)
        self._failed: deque[bool] = deque(maxlen=window)
        self._ended: deque[float] = deque(maxlen=window)
        self.count = 0

    def succeeded(self, seconds: float, now: float) -> None:
        """An inference came to its end."""
        self._durations.append(seconds)
        self._failed.append(False)
        self._ended.append(now)
        self.count += 1

    def failed(self) -> None:
        """The model failed at an inference; a wrong request or a caller who left is no failure."""
        self._failed.append(True)

    def summary(self, now: float) -> Summary:
        """What the window shows at this moment."""
        recent = sum(now - ended <= RATE_SECONDS for ended in self._ended)
        return Summary(
            count=self.count,
            error_rate=sum(self._failed) / len(self._failed) if self._failed else 0.0,
            mean=sum(self._durations) / len(self._durations) if self._durations else None,
            p95=percentile(sorted(self._durations), 0.95) if self._durations else None,
            latest=self._durations[-1] if self._durations else None,
            rate=recent / RATE_SECONDS,
        )


def percentile(ordered: list[float], share: float) -> float:
    """The smallest of the ordered values that at least this share of them does not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
