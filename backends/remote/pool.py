"""The connections to one engine base URL: kept alive for a moment, the last used first, watched by one slow timer."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from backends.base import Timeouts
from backends.errors import BackendError, Unavailable
from backends.remote.connection import Connection, Exchange
from backends.remote.headers import fixed_fields, request_head

KEPT_IDLE = 4.0  # seconds; vLLM closes idle connections after 5, and a request must not meet that
LATE = 1.0  # seconds after which our own loop, stopped or blocked, is to blame for what was not heard in time


class Message(NamedTuple):
    """A request to an engine. path: below the base URL, query included; headers: end-to-end ones."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes


class Pool:
    """Connections to one base URL, without a limit on their number: admission is decided before.

    url: http or https, with an optional path prefix. Raises ValueError for any other. One event loop owns a pool.
    """

    def __init__(self, name: str, url: str, key: str | None, timeouts: Timeouts) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"engine {name!r}: {url!r} is not an http(s) base URL")
        self.url = url
        self._name = name
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path.rstrip("/")
        self._secure = parts.scheme == "https"
        self._tls: ssl.SSLContext | None = None
        self._keyed = key is not None
        self._fixed = fixed_fields(parts.netloc.rpartition("@")[2], key)
        self._connect_timeout = timeouts.connect
        self._tick = min(max(min(timeouts.first_byte, timeouts.idle) / 8, 0.01), 0.5)
        self._idle: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when the timer is to fire
        self._quiet_since = 0.0  # moved on by the time without an exchange
        self._emptied = 0.0  # when the last exchange ended
        self.sent = 0
        self.on_drop: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<Pool {self.url} busy={len(self._busy)} idle={len(self._idle)}>"

    @property
    def in_flight(self) -> int:
        """How many exchanges are in progress."""
        return len(self._busy)

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return len(self._idle)

    def silence(self, now: float) -> float:
        """For how long exchanges have been in progress since a byte of an answer came last, or the engine ended one well."""
        return (now if self._busy else self._emptied) - self._quiet_since

    def take(self) -> Connection | None:
        """A connection kept alive, the one used last; None when there is none fresh enough to trust."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_for(now) < KEPT_IDLE and not connection.closing:
                self._begin(connection, now)
                return connection
            connection.abort()
        return None

    async def connect(self) -> Connection:
        """Open a connection. Raises Unavailable: refused, unreachable, unknown host, or no answer within the connect timeout.

        A connect timeout is Unavailable too: the request was not sent, so it may be tried elsewhere.
        """
        loop = asyncio.get_running_loop()
        if self._secure and self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: Connection(self, loop), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            raise Unavailable(
                f"Engine {self._name!r} did not accept a connection within {self._connect_timeout:g} s; retry later.",
                retry_after=1,
            ) from None
        except (OSError, UnicodeError) as error:
            raise Unavailable(
                f"Engine {self._name!r} cannot be reached; check that it runs, then retry.", retry_after=1
            ) from error
        self._begin(connection, loop.time())
        if self._timer is None:
            self._wait(loop)
        return connection

    def send(self, connection: Connection, exchange: Exchange, message: Message) -> None:
        """Start an exchange on `connection`. Raises Invalid when `message` cannot be written as a request head."""
        method, path, headers, body = message
        try:
            head = request_head(method, self._prefix + path, self._fixed, headers, len(body), keyed=self._keyed)
        except BaseException:
            connection.abort()
            raise
        self.sent += 1
        connection.send(head, body, exchange)

    def put(self, connection: Connection) -> None:
        """Take back a connection that is ready for another request."""
        self._busy.discard(connection)
        self._idle.append(connection)
        self._quiet_since = self._emptied = connection.used_at

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is closed, or is being closed."""
        if connection in self._busy:
            self._busy.discard(connection)
            self._emptied = asyncio.get_running_loop().time()
            if connection.heard:
                self._quiet_since = self._emptied
        elif connection in self._idle:
            self._idle.remove(connection)

    def dropped(self) -> None:
        """The engine closed a connection by itself, so somebody is there; who, is for others to find out."""
        self._quiet_since = asyncio.get_running_loop().time()
        if self.on_drop is not None:
            self.on_drop()

    def cut(self, error: BackendError) -> None:
        """End every exchange in progress with `error`, and close its connection."""
        for connection in tuple(self._busy):
            connection.cut(error)

    async def close(self) -> None:
        """Close every connection; exchanges in progress end as if the engine had gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in (*self._idle, *self._busy):
            connection.close()
        await asyncio.sleep(0)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell silent exchanges, close what idled long enough; goes on while there is anything to watch."""
        now = loop.time()
        late = now - self._due > LATE
        told = [connection.watch(now, excused=late) for connection in tuple(self._busy)]
        if any(told) or (told and False not in told):
            self._quiet_since = now
        while self._idle and self._idle[0].idle_for(now) >= KEPT_IDLE - self._tick:
            self._idle.popleft().abort()
        self._timer = None
        if self._idle or self._busy:
            self._wait(loop)

    def _begin(self, connection: Connection, now: float) -> None:
        if not self._busy:
            self._quiet_since += now - self._emptied
        self._busy.add(connection)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + self._tick
        self._timer = loop.call_at(self._due, self._watch, loop)
