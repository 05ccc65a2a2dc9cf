"""Streams that run side by side and are read one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


class _End:
    """Marks the end of a stream in its queue."""


async def in_order(streams: Sequence[AsyncGenerator[T, None]], *, side_by_side: int) -> AsyncGenerator[T, None]:
    """The items of streams[0], then of streams[1], ..., each as soon as it is there; `side_by_side` run at a time.

    An exception of a stream comes when its turn does. Closing this closes all of them.
    """
    room = asyncio.Semaphore(side_by_side)
    queues: list[asyncio.Queue[T | _End]] = [asyncio.Queue() for _ in streams]

    async def run(stream: AsyncGenerator[T, None], queue: asyncio.Queue[T | _End]) -> None:
        try:
            async with room, aclosing(stream):
                async for item in stream:
                    queue.put_nowait(item)
        finally:
            queue.put_nowait(_End())

    tasks = [asyncio.create_task(run(*pair)) for pair in zip(streams, queues, strict=True)]
    try:
        for task, queue in zip(tasks, queues, strict=True):
            while not isinstance(item := await queue.get(), _End):
                yield item
            await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
