"""Times that a reader can rely on: in order, apart, and never beyond the end of what holds them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Timeline:
    """Places spans one after the other between `at` and `end` (seconds); `at` moves along."""

    at: float
    end: float

    def place(self, start: float, end: float) -> tuple[float, float]:
        """(start, end), to the millisecond, moved as little as it takes to begin after the last span and to end in time."""
        start = min(max(round(float(start), 3), self.at), self.end)
        self.at = min(max(round(float(end), 3), start), self.end)
        return start, self.at
