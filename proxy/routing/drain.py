"""Is the door open, and is what should be loaded at start loaded? What `/ready` answers."""

from __future__ import annotations

import asyncio


class Drain:
    """Draining once, for good: load balancers see `/ready` turn 503 while running requests finish."""

    def __init__(self) -> None:
        self._draining = asyncio.Event()
        self.preloading = False

    def start(self) -> None:
        """From now on this process takes no new work from a load balancer."""
        self._draining.set()

    @property
    def reason(self) -> str | None:
        """Why not ready, or None when ready."""
        if self._draining.is_set():
            return "draining"
        return "loading models" if self.preloading else None
