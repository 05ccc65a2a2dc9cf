"""How far a load is, over all of its stages: from what backends report, never backwards."""

from __future__ import annotations

from dataclasses import dataclass

from backends.base import Progress
from proxy.events.values import Stage

STAGES: dict[str, Stage] = {"download": "downloading", "convert": "converting", "load": "loading_weights"}

# Percent at the begin and end of each stage, by the stage that the load began with: those already done need no room.
_SPANS: dict[Stage, dict[Stage, tuple[int, int]]] = {
    "downloading": {"downloading": (0, 70), "converting": (70, 85), "loading_weights": (85, 98)},
    "converting": {"converting": (0, 60), "loading_weights": (60, 98)},
    "loading_weights": {"loading_weights": (0, 98)},
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a load stands. percent: of the whole, 100 only when it is over; first: the stage that it began with."""

    stage: Stage
    percent: int
    first: Stage


def advanced(standing: Standing | None, progress: Progress) -> Standing:
    """The standing after a report."""
    stage = STAGES[progress.stage]
    first = standing.first if standing else stage
    low, high = _SPANS[first].get(stage, (standing.percent if standing else 0, 98))
    share = progress.done / progress.total if progress.total else 0.0
    percent = low + int((high - low) * min(1.0, max(0.0, share)))
    return Standing(stage, max(percent, standing.percent if standing else 0), first)


def warming(standing: Standing | None) -> Standing:
    """The standing of a model that is in memory and runs its first inference."""
    return Standing("warming_up", 99, standing.first if standing else "loading_weights")
