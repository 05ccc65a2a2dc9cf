"""An open loop: requests come when they come (Poisson), whether or not the ones before are answered, and their clients give up.

Latency counts from when a request was due, not from when it got sent: a generator that is held up hides nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast
from urllib.parse import urlsplit

from tests.bench.load import Arriving, fault_of

Outcome: TypeAlias = Literal["answered", "refused", "gave up", "failed"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request. due: seconds since the load began; seconds: until it was answered, refused or given up.

    late: how much of them passed before it was sent; on a machine that does nothing else it is next to none.
    """

    due: float
    seconds: float
    outcome: Outcome
    fault: str = ""
    late: float = 0.0


class Clients:
    """Connections to one address, as many as are needed at once. patience: seconds after which a client gives up."""

    def __init__(self, url: str, request: bytes, patience: float) -> None:
        self._host, _, self._port = urlsplit(url).netloc.partition(":")
        self._request = request
        self._patience = patience
        self._idle: list[_Client] = []
        self._all: set[_Client] = set()

    async def ask(self, begun: float, due: float) -> Arrival:
        """Send the request, and see what becomes of it. begun: of the load, on time.perf_counter()."""
        late = time.perf_counter() - begun - due
        try:
            async with asyncio.timeout(self._patience):
                client = await self._client()
                answer = await client.ask(self._request)
        except TimeoutError:
            return Arrival(due, late + self._patience, "gave up", late=late)
        except OSError as error:
            return Arrival(due, time.perf_counter() - begun - due, "failed", repr(error), late)
        self._idle.append(client)
        seconds = time.perf_counter() - begun - due
        fault = fault_of(answer.head, bytes(answer.received[answer.body_at :]), stream=False)
        if not fault:
            return Arrival(due, seconds, "answered", late=late)
        refused = answer.head.startswith((b"http/1.1 429", b"http/1.1 503")) and b"\r\nretry-after:" in answer.head
        return Arrival(due, seconds, "refused" if refused else "failed", fault, late)

    async def _client(self) -> _Client:
        while self._idle:
            client = self._idle.pop()
            if not client.closed:
                return client
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(_Client, self._host, int(self._port))
        self._all.add(client)
        return client

    def close(self) -> None:
        """Close every connection."""
        for client in self._all:
            client.close()


@asynccontextmanager
async def clients(url: str, request: bytes, patience: float) -> AsyncIterator[Clients]:
    """Clients, and their connections closed at the end."""
    crowd = Clients(url, request, patience)
    try:
        yield crowd
    finally:
        crowd.close()


async def arrive(crowd: Clients, rate: float, seconds: float, seed: int) -> list[asyncio.Task[Arrival]]:
    """Load for so long, with so many requests a second on average; all arrivals, in the order in which they were due.

    Some are not answered yet: a load that follows meets an engine that still has them.
    """
    draw, begun, due = random.Random(seed), time.perf_counter(), 0.0
    asked: list[asyncio.Task[Arrival]] = []
    while (due := due + draw.expovariate(rate)) < seconds:
        await asyncio.sleep(max(0.0, begun + due - time.perf_counter()))
        asked.append(asyncio.create_task(crowd.ask(begun, due)))
    await asyncio.sleep(max(0.0, begun + seconds - time.perf_counter()))
    return asked


class _Client(asyncio.Protocol):
    """A connection with at most one request on its way."""

    def __init__(self) -> None:
        self.closed = False
        self._transport: asyncio.WriteTransport
        self._answer = Arriving()
        self._waiter: asyncio.Future[Arriving] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionResetError("the connection was closed"))

    def data_received(self, data: bytes) -> None:
        if self._answer.feed(data) and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(self._answer)

    async def ask(self, request: bytes) -> Arriving:
        """The answer; a client that is cancelled leaves."""
        self._answer = Arriving()
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """Leave."""
        self.closed = True
        self._transport.abort()
