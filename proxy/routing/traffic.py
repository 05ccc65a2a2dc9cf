"""What is in flight, and is more welcome? What `/ready` answers, the gauge shows, and a graceful stop waits for."""

from __future__ import annotations

import asyncio
from collections import Counter


class Traffic:
    """Counts requests in flight by (model, engine). Draining starts once, for good."""

    def __init__(self) -> None:
        self.draining = False
        self.preloading = False
        self.in_flight: Counter[tuple[str, str]] = Counter()
        self._idle: asyncio.Event | None = None

    @property
    def reason(self) -> str | None:
        """Why not ready, or None when ready."""
        if self.draining:
            return "draining"
        return "loading models" if self.preloading else None

    def enter(self, model: str, engine: str) -> None:
        """A request is in flight from now on; whoever calls this calls leave() in a `finally`."""
        self.in_flight[model, engine] += 1

    def leave(self, model: str, engine: str) -> None:
        """It is not any more."""
        self.in_flight[model, engine] -= 1
        if self._idle is not None and not any(self.in_flight.values()):
            self._idle.set()

    async def drain(self, seconds: float) -> bool:
        """Take no new work, and wait until none is left; False when some is after `seconds`."""
        self.draining = True
        self._idle = asyncio.Event()
        if not any(self.in_flight.values()):
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
