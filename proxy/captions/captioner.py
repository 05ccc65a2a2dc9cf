"""The streams that are captioned now: so many at once, sharing the models with everyone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from backends.errors import Unavailable
from backends.inprocess.executor import Executor
from proxy.captions.wiring import Wiring
from proxy.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from proxy.captions.live import Live

COMPUTING = 2
"""Threads that look for speech, for all streams."""
CUT_SECONDS = 5.0
"""How long the end of a session waits for its streams to end."""


class Captioner:
    """Owner of the threads. streams: how many there are now. Nothing heavy is imported before the first."""

    def __init__(self, *, max_streams: int, max_seconds: float) -> None:
        self._max_streams = max_streams
        self._max_seconds = max_seconds
        self.streams = 0
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}
        self._decoding = Executor("captions, decoding", workers=max_streams)
        self._computing = Executor("captions, looking for speech", workers=COMPUTING)

    @asynccontextmanager
    async def stream(self, wiring: Wiring) -> AsyncGenerator[Live, None]:
        """A stream to be fed and run. Raises OVERLOADED when there are too many, Unavailable without the packages."""
        if self.streams >= self._max_streams:
            message = f"{self._max_streams} streams are captioned already, as many as this server takes; try later."
            raise ApiError(ErrorCode.OVERLOADED, message, retry_after=10)
        self.streams += 1
        try:
            make = await asyncio.to_thread(_import)
            yield make(wiring, self._max_seconds, decoding=self._decoding, computing=self._computing)
        finally:
            self.streams -= 1

    def runs(self, sid: str, task: asyncio.Task[None]) -> None:
        """A stream of this session is run by this task."""
        tasks = self._tasks.setdefault(sid, set())
        tasks.add(task)
        task.add_done_callback(lambda task: self._ended(sid, task))

    async def cut(self, sid: str) -> None:
        """End the streams of a session, which is no more: what they have to tell of that is told when this returns."""
        tasks = [*self._tasks.get(sid, ())]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CUT_SECONDS)

    async def close(self) -> None:
        """Give back the threads; no stream is under way any more."""
        await self._decoding.close()
        await self._computing.close()

    def _ended(self, sid: str, task: asyncio.Task[None]) -> None:
        self._tasks[sid].discard(task)
        if not self._tasks[sid]:
            del self._tasks[sid]


def _import() -> type[Live]:
    try:
        live: type[Live] = import_module("proxy.captions.live").Live
    except ModuleNotFoundError as error:
        message = f"Captions need a package that is not installed: {error.name}. "
        raise Unavailable(f"{message}Install the extra `models`, or requirements/cpu.lock.") from error
    return live
