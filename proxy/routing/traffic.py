"""What is in flight, and is more welcome? What `/ready` answers, the gauge shows, and a graceful stop waits for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

CUT_SECONDS = 2.0


class Traffic:
    """Counts requests in flight by (model, engine). Draining starts once, for good; `leaving` is set then."""

    def __init__(self) -> None:
        self.draining = False
        self.leaving = asyncio.Event()
        self.preloading = False
        self.in_flight: Counter[tuple[str, str]] = Counter()
        self._tasks: set[asyncio.Task[object]] = set()
        self._cut: frozenset[asyncio.Task[object]] = frozenset()
        self._idle: asyncio.Event | None = None

    @property
    def reason(self) -> str | None:
        """Why not ready, or None when ready."""
        if self.draining:
            return "draining"
        return "loading models" if self.preloading else None

    def enter(self, model: str, engine: str) -> None:
        """The current task serves a request from now on; whoever calls this calls leave() in a `finally`."""
        self.in_flight[model, engine] += 1
        if task := asyncio.current_task():
            self._tasks.add(task)

    def leave(self, model: str, engine: str) -> None:
        """It is not any more."""
        self.in_flight[model, engine] -= 1
        self._settle()

    @contextmanager
    def staying(self) -> Iterator[None]:
        """The current task is waited for like a request, and cut like one, for as long as it takes it to heed `leaving`."""
        if task := asyncio.current_task():
            self._tasks.add(task)
        try:
            yield
        finally:
            self._settle()

    async def drain(self, seconds: float) -> bool:
        """Take no new work, and wait until none is left; False when some is after `seconds`."""
        self.draining = True
        self.leaving.set()
        self._idle = asyncio.Event()
        if not self._tasks:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def cut(self) -> None:
        """Cancel what is still in flight, while its clients are still connected and can be told."""
        self._cut = frozenset(self._tasks)
        for task in self._cut:
            task.cancel()
        if self._cut:
            await asyncio.wait(self._cut, timeout=CUT_SECONDS)

    def was_cut(self) -> bool:
        """Whether the current task is one that cut() cancelled."""
        return asyncio.current_task() in self._cut

    def _settle(self) -> None:
        if task := asyncio.current_task():
            self._tasks.discard(task)
        if self._idle is not None and not self._tasks:
            self._idle.set()
