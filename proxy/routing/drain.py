"""Is new work welcome, and is any still under way? What `/ready` answers and what a graceful stop waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Drain:
    """Counts requests in flight. Draining starts once, for good: `/ready` turns 503 while running requests finish."""

    def __init__(self) -> None:
        self.draining = False
        self.preloading = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def reason(self) -> str | None:
        """Why not ready, or None when ready."""
        if self.draining:
            return "draining"
        return "loading models" if self.preloading else None

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count a request as in flight for as long as the block lasts."""
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def drain(self, seconds: float) -> bool:
        """Take no new work, and wait until none is left; False when some is after `seconds`."""
        self.draining = True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
