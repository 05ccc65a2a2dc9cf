"""aiohttp's server with what it leaves out: a deadline for heads, a limit on connections, and refusals in the door's own words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware
from aiohttp.web_protocol import _ErrInfo
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.errors import ApiError, ErrorCode
from proxy.http.request_id import HEADER, request_id
from proxy.http.server_log import ServerLog

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage
    from aiohttp.streams import StreamReader

SWEEP_SECONDS = 1.0
# A connection turned away is held this long: closed at once, the client's first bytes would destroy the answer on its way.
TURNED_AWAY_SECONDS = 1.0


class Refuse:
    """Answers a request that never got as far as a route: recorded and rendered like every other."""

    def __init__(self, observe: Middleware, render: Middleware, render_error: Callable[[ApiError], bytes]) -> None:
        self._observe = observe
        self._render = render
        self.render_error = render_error

    async def __call__(self, request: web.Request, error: ApiError) -> web.StreamResponse:
        """The answer that tells this error; the connection ends with it."""

        async def fail(_: web.Request) -> web.StreamResponse:
            raise error

        response = await self._observe(request, partial(self._render, handler=fail))
        response.force_close()
        return response


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take. head_seconds: from its first byte (at first: from connecting) to a whole head."""

    head_seconds: float
    max_connections: int
    keepalive_seconds: float


class Runner(web.AppRunner):
    """The server around an app. Handlers are cancelled when their client leaves: that is how engines get to know."""

    def __init__(self, app: web.Application, refuse: Refuse, limits: Limits, shutdown_seconds: float) -> None:
        super().__init__(
            app,
            handler_cancellation=True,
            access_log=None,
            logger=ServerLog(),
            auto_decompress=False,
            keepalive_timeout=limits.keepalive_seconds,
            shutdown_timeout=shutdown_seconds,
        )
        self._refuse = refuse
        self._limits = limits
        self._sweeping: asyncio.Task[None] | None = None

    async def _make_server(self) -> web.Server:
        # The one place where aiohttp lets the kind of server be chosen.
        door = Door(await super()._make_server(), self._refuse, self._limits)
        self._sweeping = asyncio.create_task(door.sweep_for_ever(), name="sweep")
        return door

    async def cleanup(self) -> None:
        """Close everything."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        await super().cleanup()


class Door(web.Server):
    """The open connections, swept once a second: timers for each of them would cost every request."""

    def __init__(self, plain: web.Server, refuse: Refuse, limits: Limits) -> None:
        super().__init__(
            plain.request_handler,
            request_factory=self._without_expect,
            handler_cancellation=plain.handler_cancellation,
            **plain._kwargs,
        )
        self._make_app_request = plain.request_factory
        self.refuse = refuse
        self.limits = limits
        self.turned_away = 0

    def __call__(self) -> Connection:
        """A connection's protocol."""
        return Connection(self, loop=self._loop, **self._kwargs)

    @property
    def full(self) -> bool:
        """Whether another connection would be one too many."""
        return len(self._connections) >= self.limits.max_connections

    async def sweep_for_ever(self) -> None:
        """Drop the connections whose head is overdue, and say how many."""
        log = structlog.get_logger("server")
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            slow = self._drop_slow()
            if slow or self.turned_away:
                log.warning("connections dropped", slow=slow, over_the_limit=self.turned_away)
                self.turned_away = 0

    def _drop_slow(self) -> int:
        overdue = self._loop.time() - self.limits.head_seconds
        slow = [
            connection
            for connection in self.connections
            if isinstance(connection, Connection)
            and connection.waiting_since is not None
            and connection.waiting_since < overdue
        ]
        for connection in slow:
            connection.force_close()
        return len(slow)

    def _without_expect(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """A request whose `Expect` only its raw headers still have.

        aiohttp would answer it before anyone has asked for a key; proxy.http.body does when the body is wanted.
        """
        if hdrs.EXPECT in message.headers:
            headers = CIMultiDict(message.headers)
            headers.popall(hdrs.EXPECT)
            message = message._replace(headers=CIMultiDictProxy(headers))
        return self._make_app_request(message, payload, protocol, writer, task)


class Connection(web.RequestHandler):
    """One client's connection. waiting_since: the loop's time since which a head is awaited; None while none is due."""

    __slots__ = ("_door", "waiting_since")

    def __init__(self, door: Door, **options: object) -> None:
        super().__init__(door, **options)  # type: ignore[arg-type]  # what Door.__call__ passes on, as web.Server does
        self._door = door
        self.waiting_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the client in, or turn it away."""
        if self._door.full:
            self._turn_away(cast("asyncio.Transport", transport))
            return
        self.waiting_since = self._loop.time()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes that leave aiohttp waiting for a request are the beginning of a head."""
        super().data_received(data)
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.waiting_since = None
            if waiter is None and self._messages and self._current_request is not None:
                self._break_body(self._current_request)
        elif self.waiting_since is None:
            self.waiting_since = self._loop.time()

    def _break_body(self, request: web.BaseRequest) -> None:
        # Where a body's framing is wrong, aiohttp lines the error up as the next request: whoever reads the body waits on.
        if isinstance(self._messages[-1][0], _ErrInfo) and not request.content.is_eof():
            request.content.set_exception(web.RequestPayloadError("not framed as HTTP says"))

    def _make_error_handler(self, err_info: _ErrInfo) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        # Its message quotes the client's bytes, keys among them; its kind does not.
        error = ApiError(ErrorCode.INVALID, f"This is not a valid HTTP request ({type(err_info.exc).__name__}).")

        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            return await self._door.refuse(cast("web.Request", request), error)

        return handler

    def _turn_away(self, transport: asyncio.Transport) -> None:
        self._door.turned_away += 1
        self._force_close = True
        body = self._door.refuse.render_error(
            ApiError(ErrorCode.UNAVAILABLE, "The server has as many connections as it takes; try again.")
        )
        head = (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
            f"Content-Length: {len(body)}\r\n{HEADER}: {request_id(None)}\r\nConnection: close\r\n\r\n"
        )
        transport.write(head.encode("ascii") + body)
        if transport.can_write_eof():
            transport.write_eof()
        self._loop.call_later(TURNED_AWAY_SECONDS, transport.abort)
