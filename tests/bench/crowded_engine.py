"""An engine of finite capacity, which falls when it is crowded: SLOTS requests at once go at full speed, more hinder each other.

usage: python -m tests.bench.crowded_engine PORT

Beyond its slots an engine shares what it has, and loses a part of it: batches that do not fit are computed in pieces, caches
are given up and computed anew. Here the work done a second is SLOTS times 1 / (1 + THRASHING * (requests / SLOTS - 1)).
"""

from __future__ import annotations

import asyncio
import heapq
import random
import sys
from itertools import count

import uvloop

from tests.bench.mock_engine import Engine

SLOTS = 20
SECONDS = 0.2
"""Mean work of a request, alone on the engine; it is between half and one and a half of it."""
THRASHING = 0.5
CAPACITY = SLOTS / SECONDS
"""Requests a second, at most."""


class Work:
    """Requests that share the engine, as fluid: each has done as much as every other since it came."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._random = random.Random(7)
        self._numbers = count()
        self._done = 0.0
        self._since = self._loop.time()
        self._due: list[tuple[float, int]] = []
        self._doing: dict[int, Crowded] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def requests(self) -> int:
        """How many there are."""
        return len(self._doing)

    def begin(self, connection: Crowded) -> int:
        """One more request; the connection is told when it is done."""
        self._go_on()
        number = next(self._numbers)
        self._doing[number] = connection
        heapq.heappush(self._due, (self._done + SECONDS * self._random.uniform(0.5, 1.5), number))
        self._plan()
        return number

    def drop(self, number: int) -> None:
        """Its client has left."""
        self._go_on()
        self._doing.pop(number, None)
        self._plan()

    def _speed(self) -> float:
        """Of each request: seconds of work a second."""
        crowd = max(1.0, len(self._doing) / SLOTS)
        return 1 / (crowd * (1 + THRASHING * (crowd - 1)))

    def _go_on(self) -> None:
        now = self._loop.time()
        self._done += (now - self._since) * self._speed()
        self._since = now

    def _plan(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        while self._due and self._due[0][1] not in self._doing:
            heapq.heappop(self._due)
        if self._due:
            self._timer = self._loop.call_later(max(0.0, self._due[0][0] - self._done) / self._speed(), self._finish)

    def _finish(self) -> None:
        self._go_on()
        while self._due and self._due[0][0] <= self._done + 1e-9:
            _, number = heapq.heappop(self._due)
            if (connection := self._doing.pop(number, None)) is not None:
                connection.answer()
        self._plan()


class Crowded(Engine):
    """One connection: an answer takes as long as the crowd makes it."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work
        self._asked: tuple[bytes, bytes] = (b"", b"")
        self._number: int | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._number is not None:
            self._work.drop(self._number)

    def answer(self) -> None:
        """The work is done."""
        self._number = None
        super()._serve(*self._asked)

    def _serve(self, path: bytes, body: bytes) -> None:
        if body:
            self._asked = path, body
            self._number = self._work.begin(self)
        else:
            super()._serve(path, body)


async def main(port: int) -> None:
    """Serve until killed."""
    work = Work()
    server = await asyncio.get_running_loop().create_server(lambda: Crowded(work), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
