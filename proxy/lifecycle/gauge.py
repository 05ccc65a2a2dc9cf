"""How much memory a load took: measured before and after it, where nothing else loaded or left meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from proxy.lifecycle.memory import Room


@dataclass(slots=True, eq=False)
class Growth:
    """A measurement under way. moving: memory is being taken or given back by now; spoiled: others did so, too."""

    device: str
    before: float
    moving: bool = False
    spoiled: bool = False


class Gauge:
    """Reads the memory, off the event loop. read: blocks."""

    def __init__(self, read: Callable[[], Room]) -> None:
        self._read = read
        self._growths: set[Growth] = set()

    async def room(self) -> Room:
        """The memory as it is now."""
        return await asyncio.to_thread(self._read)

    @asynccontextmanager
    async def growth(self, device: str) -> AsyncIterator[Growth]:
        """Measure what happens in the block."""
        growth = Growth(device, (await self.room()).held_on(device))
        self._growths.add(growth)
        try:
            yield growth
        finally:
            self._growths.discard(growth)

    def moves(self, growth: Growth) -> None:
        """From now on it takes or gives back memory: whoever measures meanwhile cannot tell whose that is."""
        if growth.moving:
            return
        growth.moving = True
        for other in self._growths - {growth}:
            other.spoiled = True
            growth.spoiled = growth.spoiled or other.moving

    async def taken(self, growth: Growth) -> float | None:
        """MB more than before, negative when it is less; None when that cannot be told."""
        after = (await self.room()).held_on(growth.device)
        return None if growth.spoiled else after - growth.before
