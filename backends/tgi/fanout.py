"""Several generations as one stream: what TGI does not do for n, best_of and lists of prompts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing

from backends.types import Event

_Said = tuple[int, Event | Exception | None]


async def merged(streams: Sequence[AsyncGenerator[Event, None]], width: int) -> AsyncGenerator[Event, None]:
    """Events of all streams as they come, at most `width` streams running at once.

    Nothing is yielded before each of the first `width` has yielded, so a refusal of any of those is raised before any
    event. The first failure ends everything; closing this generator closes every running stream.
    """
    said: asyncio.Queue[_Said] = asyncio.Queue(maxsize=16)
    waiting = iter(streams)
    workers = [asyncio.create_task(_pump(number, waiting, said)) for number in range(min(width, len(streams)))]
    silent, running = set(range(len(workers))), len(workers)
    held: list[Event] = []
    try:
        while running:
            number, event = await said.get()
            if isinstance(event, Exception):
                raise event
            silent.discard(number)
            if event is None:
                running -= 1
            else:
                held.append(event)
            if not silent:
                for ready in held:
                    yield ready
                held.clear()
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _pump(number: int, waiting: Iterator[AsyncGenerator[Event, None]], said: asyncio.Queue[_Said]) -> None:
    """Run streams one after another, as long as any waits."""
    try:
        for stream in waiting:
            async with aclosing(stream):
                async for event in stream:
                    await said.put((number, event))
    except Exception as error:
        await said.put((number, error))
    else:
        await said.put((number, None))
