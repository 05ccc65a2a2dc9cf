"""One connection to an engine: reads response heads, hands body bytes to the exchange in progress, knows when it is quiet."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Protocol, cast

from backends.remote.heads import MAX_HEAD, Head, ProtocolError, parse_head
from backends.remote.rounds import Rounds

_MAX_INFORMATIONAL = 16
_ROUND = 64 * 1024  # bytes that one round takes of a connection
_ONE_WRITE = 64 * 1024  # below this, joining head and body is cheaper than handing over two buffers


class Exchange(Protocol):
    """One request and its answer on a connection. limit: seconds of silence it allows now."""

    limit: float

    def on_head(self, head: Head, rest: bytes) -> None:
        """The head is there; rest: the body bytes that came with it. Sets connection.feed to whatever takes more."""

    def on_lost(self, clean: bool) -> None:
        """The engine closed the connection (clean: without a reset)."""

    def on_silence(self) -> None:
        """Nothing came for `limit` seconds although we were reading."""

    def on_failure(self, error: Exception) -> None:
        """Taking bytes raised `error`: ProtocolError for garbage, anything else is the receiving side's."""


class Owner(Protocol):
    """The pool as its connections see it."""

    def put(self, connection: Connection) -> None:
        """Take back a connection that is ready for another request."""

    def forget(self, connection: Connection) -> None:
        """The connection is closed, or is being closed."""

    def dropped(self) -> None:
        """The engine closed a connection by itself."""


class Connection(asyncio.Protocol):
    """A keep-alive HTTP/1.1 client connection, one exchange at a time.

    feed: who takes the next bytes (an attribute, so that a stream's chunks reach their method in one call).
    """

    __slots__ = (
        "_buffer",
        "_exchange",
        "_heard",
        "_informational",
        "_loop",
        "_ours",
        "_owner",
        "_paused",
        "_quiet_since",
        "_reused",
        "_rounds",
        "_transport",
        "_untouched",
        "_used_at",
        "feed",
    )

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self._ours = False  # it was us who closed it
        self._exchange: Exchange | None = None
        self._buffer = b""
        self._informational = 0
        self._heard = False
        self._paused = False
        self._quiet_since = 0.0
        self._reused = False
        self._rounds: Rounds | None = None
        self._untouched = True
        self._used_at = 0.0
        self.feed: Callable[[bytes], None] = self._unexpected

    # ------------------------------------------------------------------- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            self.feed(data)
        except Exception as error:  # whoever waits for this exchange must hear of any failure
            if self._exchange is None:
                raise
            self._exchange.on_failure(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave_rounds()
        self._owner.forget(self)
        if not self._ours:
            self._owner.dropped()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.on_lost(exc is None)

    # ------------------------------------------------------------------- the exchange's side

    @property
    def closing(self) -> bool:
        """Whether no more requests can be sent here."""
        return self._transport.is_closing()

    @property
    def heard(self) -> bool:
        """Whether bytes came since watch() was last called, or the exchange began."""
        return self._heard

    @property
    def used_at(self) -> float:
        """When the exchange began, or where there is none, when the last one ended."""
        return self._used_at

    @property
    def went_stale(self) -> bool:
        """Whether a kept-alive connection closed before any byte of an answer: its idle timeout may have crossed the request."""
        return self._reused and self._untouched

    def idle_for(self, now: float) -> float:
        """Seconds since the last exchange ended."""
        return now - self._used_at

    def send(self, head: bytes, body: bytes, exchange: Exchange) -> None:
        """Start an exchange: write the request; the answer goes to `exchange`."""
        self._exchange = exchange
        self._buffer = b""
        self._informational = 0
        self._heard = False
        self._untouched = True
        self._used_at = self._quiet_since = self._loop.time()
        self.feed = self._head
        if len(body) < _ONE_WRITE:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def pause(self) -> None:
        """Stop reading; silence does not count meanwhile."""
        if not self._paused:
            self._paused = True
            if self._rounds is None:
                self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            self._quiet_since = self._loop.time()
            if self._rounds is None and not self._transport.is_closing():
                self._transport.resume_reading()

    def join(self, rounds: Rounds) -> None:
        """Be read in rounds, until the exchange ends. What is encrypted is not: only its transport can read it."""
        if self._rounds is None and self._transport.get_extra_info("sslcontext") is None:
            self._rounds = rounds
            if not self._paused:
                self._transport.pause_reading()
            rounds.join(self)

    def leave_rounds(self) -> None:
        """Be read when bytes come, as at first."""
        if self._rounds is not None:
            self._rounds.leave(self)
            self._rounds = None
            if not (self._paused or self._transport.is_closing()):
                self._transport.resume_reading()

    def read_now(self) -> None:
        """Take the bytes that have come. How the connection ended, if it did, the transport is left to find out."""
        if self._rounds is None or self._paused or self._transport.is_closing():
            return
        try:
            data = os.read(self._transport.get_extra_info("socket").fileno(), _ROUND)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.data_received(data)
        else:
            self.leave_rounds()

    def release(self, reusable: bool) -> None:
        """End the exchange after its last byte: back to the pool, or closed where the framing's end is in doubt."""
        # A request still being written when its answer ended (413, say) would be the head of the next one.
        if not reusable or self._transport.is_closing() or self._transport.get_write_buffer_size():
            self.abort()
            return
        self._exchange = None
        self.feed = self._unexpected
        self._reused = True
        self._used_at = self._loop.time()
        self.leave_rounds()
        self.resume()
        self._owner.put(self)

    def abort(self) -> None:
        """Close at once; the exchange hears nothing more."""
        self._ours = True
        self._exchange = None
        self.feed = self._discard
        self.leave_rounds()
        self._owner.forget(self)
        self._transport.abort()

    def abandon(self, exchange: Exchange) -> None:
        """Close at once if `exchange` is still in progress here."""
        if self._exchange is exchange:
            self.abort()

    def close(self) -> None:
        """Close at once and let the exchange in progress, if any, find its engine gone."""
        self._ours = True
        self._transport.abort()

    def watch(self, now: float, *, excused: bool = False) -> bool | None:
        """Called every now and then: tell the exchange when the engine has been silent for longer than it allows.

        excused: silence until now is not the engine's. Whether the engine was heard; None = nobody listened.
        """
        if self._heard or self._paused or excused:
            heard = self._heard
            self._heard = False
            self._quiet_since = now
            return heard or None
        if self._exchange is not None and now - self._quiet_since >= self._exchange.limit:
            self._exchange.on_silence()
        return False

    def cut(self, error: Exception) -> None:
        """Close at once, and end the exchange in progress with `error`."""
        if self._exchange is not None:
            self._exchange.on_failure(error)

    # ------------------------------------------------------------------- takers of bytes

    def _head(self, data: bytes) -> None:
        self._untouched = False
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > MAX_HEAD or not data.startswith(b"HTTP/1."[: len(data)]):
                raise ProtocolError("an endless head" if len(data) > MAX_HEAD else "no HTTP/1.x status line")
            self._buffer = data
            return
        if end > MAX_HEAD:
            raise ProtocolError("an endless head")
        head, rest = parse_head(data[:end]), data[end + 4 :]
        exchange = self._exchange
        if head.status >= 200 and exchange is not None:
            exchange.on_head(head, rest)
            return
        self._buffer = b""
        self._informational += 1
        if head.status == 101 or self._informational > _MAX_INFORMATIONAL:
            raise ProtocolError("an unasked-for switch of protocols, or interim answers without end")
        if rest:
            self._head(rest)

    def _unexpected(self, data: bytes) -> None:
        """Bytes that nobody asked for: whatever they answer, it is not our next request."""
        self.abort()

    def _discard(self, data: bytes) -> None:
        """Bytes that were under way while the connection was being aborted."""
