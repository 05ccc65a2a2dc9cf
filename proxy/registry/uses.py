"""How often models are used: counted together, and never a reason for an answer to fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TypeAlias

Counts: TypeAlias = Mapping[str, tuple[int, datetime]]
"""Model -> how many uses, and when the last one was."""

COUNT_SECONDS = 1.0
"""How long an answer waits for its use to be counted; what could not be counted is, later."""


class Uses:
    """Owner of the uses that are yet to be written; they are lost only with the process. write: may raise, and is tried again."""

    def __init__(self, write: Callable[[Counts], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: dict[str, tuple[int, datetime]] = {}
        self._writing: asyncio.Task[None] | None = None

    async def add(self, model_id: str, when: datetime) -> None:
        """Count a use; those that come while others are written are written together after them."""
        count, _ = self._waiting.get(model_id, (0, when))
        self._waiting[model_id] = (count + 1, when)
        # What is being written may have begun before this use.
        for _ in range(2):
            if model_id not in self._waiting:
                return
            await asyncio.wait({self._begun()}, timeout=COUNT_SECONDS)

    async def again(self) -> None:
        """Write what could not be written before. Raises what write raises."""
        if self._waiting:
            await asyncio.shield(self._begun())

    async def close(self) -> None:
        """Write what is left, if that does not take long."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=COUNT_SECONDS)
        if self._waiting:
            await asyncio.wait({self._begun()}, timeout=COUNT_SECONDS)
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    def _begun(self) -> asyncio.Task[None]:
        if self._writing is None:
            self._writing = asyncio.create_task(self._flush(), name="count uses")
            self._writing.add_done_callback(self._ended)
        return self._writing

    async def _flush(self) -> None:
        taken, self._waiting = self._waiting, {}
        try:
            await self._write(taken)
        except BaseException:
            for model_id, (count, last) in taken.items():
                more, later = self._waiting.get(model_id, (0, last))
                self._waiting[model_id] = (count + more, later)
            raise

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._writing = None
        if not task.cancelled():
            task.exception()
