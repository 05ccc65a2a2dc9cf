"""All connections to one engine at one URL, and a small pull-style client on them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from backends.base import EngineSpec, Pulse, Timeouts
from backends.errors import BackendError, Broken, Unavailable
from backends.remote.connection import Connection
from backends.remote.exchange import SAFE_METHODS, Answer, Stale
from backends.remote.heads import Head
from backends.remote.pool import Message, Pool
from backends.remote.rounds import Rounds

_READ_AHEAD = 256 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """A successful (2xx) answer. headers: names in lower case; body: payload bytes as they come, to be iterated once.

    Iterating raises Broken when the answer is cut short and TimedOut when the engine falls silent; allow: for how many
    seconds at most it may from now on.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: AsyncIterator[bytes]
    allow: Callable[[float], None]

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises Broken when it is longer than `limit` bytes."""
        parts, size = [], 0
        async for part in self.body:
            size += len(part)
            if size > limit:
                raise Broken(f"The engine's answer is longer than {limit} bytes.")
            parts.append(part)
        return b"".join(parts)


class RemoteClient:
    """One engine at one base URL. Raises ValueError for a spec without exactly one usable URL; opens nothing yet."""

    def __init__(self, spec: EngineSpec) -> None:
        if len(spec.urls) != 1:
            raise ValueError(f"engine {spec.name!r} has {len(spec.urls) or 'no'} urls; a client is for one")
        self.name = spec.name
        self.timeouts = spec.timeouts
        self.pool = Pool(spec.name, spec.urls[0], spec.key, spec.timeouts)
        # Questions about the engine go beside the work: what answers them goes on answering when nothing is generated any more.
        self._asides = Pool(spec.name, spec.urls[0], spec.key, spec.timeouts)
        self.rounds = Rounds(spec.round_ms / 1e3, self._in_flight)

    def __repr__(self) -> str:
        return f"<RemoteClient {self.name} {self.pool}>"

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Sequence[tuple[str, str]] = (),
        *,
        timeouts: Timeouts | None = None,
    ) -> AsyncGenerator[Response, None]:
        """Send a request; leaving the block closes the engine's connection unless the answer was read to its end.

        path: below the base URL, query included. Raises Unavailable (nothing was sent), TimedOut, Broken, and Rejected
        for an error status with the first 64 KiB of its body.
        """
        reading = _Reading(self.name, method, timeouts or self.timeouts)
        await self.perform(reading, Message(method, path, headers, body))
        try:
            yield reading.response()
        finally:
            reading.connection.abandon(reading)

    async def perform(self, answer: Answer, message: Message) -> None:
        """Send `message` and wait until `answer` is settled; cancelling closes the engine's connection.

        Raises Unavailable when no connection could be opened: nothing was sent. A request that was sent is repeated in one
        case only, once: it only reads (GET), and its kept-alive connection closed without a byte of an answer. A POST never
        is: nobody can know whether the engine had begun (RFC 9110 section 9.2.2).
        """
        pool = self._asides if message.method in SAFE_METHODS else self.pool
        try:
            await _once(pool, pool.take() or await pool.connect(), answer, message)
        except Stale:
            try:
                connection = await pool.connect()
            except Unavailable as error:
                raise Broken(f"Engine {self.name!r} went away when it was sent the request; retry later.") from error
            await _once(pool, connection, answer, message)

    def pulse(self, now: float) -> Pulse:
        """How the work that the engine was given is getting on."""
        return Pulse(self.pool.in_flight, self.pool.sent, self.pool.silence(now))

    def on_drop(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever the engine closes a connection by itself."""
        self.pool.on_drop = self._asides.on_drop = tell

    def cut(self, error: BackendError) -> None:
        """End all of that work with `error`."""
        self.pool.cut(error)

    async def close(self) -> None:
        """Close all connections."""
        await self.pool.close()
        await self._asides.close()

    def _in_flight(self) -> int:
        return self.pool.in_flight


async def _once(pool: Pool, connection: Connection, answer: Answer, message: Message) -> None:
    answered = answer.begin(connection)
    pool.send(connection, answer, message)
    try:
        await answered
    except BaseException:
        connection.abandon(answer)
        raise


class _Reading(Answer):
    """An answer that is read piece by piece; settled with its head."""

    __slots__ = ("_error", "_finished", "_idle", "_parts", "_size", "_wake")

    def __init__(self, engine: str, method: str, timeouts: Timeouts) -> None:
        super().__init__(engine, method, timeouts)
        self._idle = timeouts.idle
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._finished = False
        self._error: Exception | None = None
        self._wake: asyncio.Future[None] | None = None

    def response(self) -> Response:
        """What was answered."""
        if self.head is None:
            raise RuntimeError("no answer yet")
        return Response(self.head.status, self.head.headers, self._body(), self._allow)

    def _allow(self, seconds: float) -> None:
        self._idle = self.limit = min(seconds, self._idle)

    def accept(self, head: Head, rest: bytes) -> None:
        self.connection.feed = self._take
        self.settle()
        self._take(rest)

    def finish(self) -> None:
        self._finished = True
        self._notify()

    def salvage(self, payload: bytes) -> None:
        self._parts.append(payload)
        self._size += len(payload)

    def fail(self, error: Exception) -> None:
        if self.answered.done():
            self._error = error
            self._notify()
        else:
            self.settle(error)

    def _take(self, data: bytes) -> None:
        payload = self.decoder.feed(data)
        if payload:
            self.limit = self._idle
            self._parts.append(payload)
            self._size += len(payload)
        if self.decoder.done:
            self.release()
            self.finish()
        elif self._size > _READ_AHEAD:
            self.connection.pause()
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _body(self) -> AsyncGenerator[bytes, None]:
        while True:
            while self._parts:
                part = self._parts.popleft()
                self._size -= len(part)
                yield part
            if self._finished:
                return
            if self._error is not None:
                raise self._error
            self.connection.resume()
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
