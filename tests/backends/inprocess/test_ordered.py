import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from backends.inprocess.ordered import in_order


class Streams:
    """Streams that wait for their turn to be given; remembers which began and which ended."""

    def __init__(self, count: int) -> None:
        self.go = [asyncio.Event() for _ in range(count)]
        self.began: list[int] = []
        self.ended: list[int] = []

    async def stream(self, number: int) -> AsyncGenerator[tuple[int, int], None]:
        self.began.append(number)
        try:
            yield number, 0
            await self.go[number].wait()
            yield number, 1
        finally:
            self.ended.append(number)

    def all(self) -> list[AsyncGenerator[tuple[int, int], None]]:
        return [self.stream(number) for number in range(len(self.go))]


async def test_items_come_in_the_order_of_the_streams_however_they_end() -> None:
    streams = Streams(3)
    async with aclosing(in_order(streams.all(), side_by_side=3)) as items:
        assert await anext(items) == (0, 0)
        assert streams.began == [0, 1, 2]
        for number in (2, 1, 0):
            streams.go[number].set()
            await asyncio.sleep(0)
        assert [item async for item in items] == [(0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]


async def test_no_more_run_at_a_time_than_may() -> None:
    streams = Streams(3)
    async with aclosing(in_order(streams.all(), side_by_side=2)) as items:
        await anext(items)
        assert streams.began == [0, 1]
        streams.go[1].set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert streams.began == [0, 1, 2]


async def test_closing_ends_all_streams() -> None:
    streams = Streams(3)
    async with aclosing(in_order(streams.all(), side_by_side=2)) as items:
        await anext(items)
    assert sorted(streams.ended) == [0, 1]


async def test_an_error_comes_after_what_was_before_it() -> None:
    async def failing() -> AsyncGenerator[tuple[int, int], None]:
        yield 9, 9
        raise ValueError("broken off")

    streams = Streams(2)
    streams.go[0].set()
    items = in_order([streams.stream(0), failing(), streams.stream(1)], side_by_side=3)
    assert [await anext(items) for _ in range(3)] == [(0, 0), (0, 1), (9, 9)]
    with pytest.raises(ValueError, match="broken off"):
        await anext(items)


async def test_no_streams_no_items() -> None:
    streams = Streams(0)
    assert [item async for item in in_order(streams.all(), side_by_side=1)] == []
