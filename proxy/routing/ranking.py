"""Names in the order of ranks that change: a heap that forgets lazily."""

from __future__ import annotations

import heapq
from typing import TypeAlias

Rank: TypeAlias = "tuple[float, ...]"

SPARE = 16  # outdated entries that are kept in any case


class Ranking:
    """Names by rank, the lowest first. Every method takes O(log n), amortised."""

    def __init__(self) -> None:
        self._current: dict[str, tuple[Rank, str]] = {}
        self._heap: list[tuple[Rank, str]] = []

    def put(self, name: str, rank: Rank) -> None:
        """Rank a name, anew if it has a rank."""
        entry = (rank, name)
        if self._current.get(name) == entry:
            return
        self._current[name] = entry
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._current) + SPARE:
            self._heap = list(self._current.values())
            heapq.heapify(self._heap)

    def drop(self, name: str) -> None:
        """Forget a name that has a rank."""
        del self._current[name]

    def first(self) -> str:
        """The name of the lowest rank, the alphabet's first among equals; there must be one."""
        heap = self._heap
        while self._current.get(heap[0][1]) != heap[0]:
            heapq.heappop(heap)
        return heap[0][1]
