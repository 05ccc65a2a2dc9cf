"""Which of an engine's replicas gets the next request: a pure choice."""

from __future__ import annotations

from collections.abc import Collection, Sequence

SKIPPED_FOR = 3.0  # seconds for which a replica that refused a connection is left alone while others may be tried


def choose(in_flight: Sequence[int], skipped: Collection[int], turn: int) -> int:
    """The index with least in flight; equals take turns, starting at `turn`. `skipped` ones only where all are."""
    count = len(in_flight)
    order = [(turn + step) % count for step in range(count)]
    return min([index for index in order if index not in skipped] or order, key=in_flight.__getitem__)
