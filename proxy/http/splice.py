"""The client's connection, for a relay to write to directly: below aiohttp's streams, while aiohttp keeps the connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11

from proxy.http.request_id import HEADER

REASONS = {int(status): status.phrase for status in HTTPStatus}


class ClientSink:
    """A relay's Sink on the connection of one request. told: headers of ours beside the engine's."""

    __slots__ = (
        "_head",
        "_protocol",
        "_request",
        "_request_id",
        "_told",
        "_transport",
        "keep_alive",
        "status",
        "write",
    )

    write: Callable[[bytes], None]

    def __init__(self, request: web.Request, request_id: str, told: Mapping[str, str]) -> None:
        if request.transport is None:
            raise ConnectionResetError("the client has gone")
        self._request = request
        self._request_id = request_id
        self._told = told
        self._protocol = request.protocol
        self._transport = request.transport
        self._head = b""
        self.write = self._transport.write
        self.status = 0
        self.keep_alive = False

    @property
    def chunked_ok(self) -> bool:
        """Whether the client understands chunked framing."""
        return self._request.version >= HttpVersion11

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._transport.is_closing()

    @property
    def full(self) -> bool:
        """Whether the socket's buffer is over its high-water mark."""
        return self._protocol.writing_paused

    def start(self, status: int, headers: Sequence[tuple[str, str]], *, stream: bool) -> None:
        """Send the head, together with the first body bytes: one packet, one system call.

        After those `write` is the transport's own: the hottest call of a relay has nothing in between.
        """
        self.status = status
        # Without either of them the end of the body is the end of the connection.
        framed = any(name in ("Content-Length", "Transfer-Encoding") for name, _ in headers) or status in (204, 304)
        self.keep_alive = self._request.keep_alive and framed
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, '')}"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines += [f"{name}: {value}" for name, value in self._told.items()]
        lines.append(f"{HEADER}: {self._request_id}")
        if not self.keep_alive:
            lines.append("Connection: close")
        elif not self.chunked_ok:
            lines.append("Connection: keep-alive")
        self._head = "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n"
        self.write = self._write_first

    def _write_first(self, data: bytes) -> None:
        """Send the head and framed body bytes."""
        self.write = self._transport.write
        self._transport.write(self._head + data)
        self._head = b""

    def finish(self) -> None:
        """The answer is whole; one without a body still has a head to send."""
        if self._head:
            self.write(b"")

    async def drained(self) -> None:
        """Wait until the client has read enough. Raises ConnectionError when it has gone."""
        await self._request.writer.drain()

    def abort(self) -> None:
        """Close the connection: the client must see that the answer is not whole."""
        self.keep_alive = False
        self._transport.abort()


class SplicedResponse(web.StreamResponse):
    """An answer whose bytes are already on the wire when aiohttp gets to see it."""

    def __init__(self, sink: ClientSink) -> None:
        super().__init__(status=sink.status)
        sink.finish()
        self._keep_alive = sink.keep_alive
        self._eof_sent = True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Nothing left to prepare."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing left to write."""
