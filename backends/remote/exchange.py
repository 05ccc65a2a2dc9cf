"""What every answer goes through, relayed or read: its head judged, a refusal collected, one future told of the outcome."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from backends.base import Timeouts
from backends.errors import Broken, Rejected, TimedOut
from backends.remote.connection import Connection
from backends.remote.framing import Decoder, decoder_for
from backends.remote.headers import retry_after
from backends.remote.heads import Head, ProtocolError

FINISHED_FOR = 2.0  # seconds of silence that end a stream which has told its finish, but not its last word
MAX_REFUSAL = 64 * 1024
SAFE_METHODS = frozenset({"GET", "HEAD"})


class Stale(Exception):
    """A kept-alive connection had been closed by the engine when the request was sent on it: nothing was answered."""


class Answer(ABC):
    """An engine's answer in the making, as its connection sees it; `answered` is what the request's task waits for.

    limit: seconds of silence allowed now: the first-byte timeout at the start, the idle timeout once a body flows.
    """

    __slots__ = ("_engine", "_method", "_refusal", "_timeouts", "answered", "connection", "decoder", "head", "limit")

    answered: asyncio.Future[None]
    connection: Connection
    decoder: Decoder

    def __init__(self, engine: str, method: str, timeouts: Timeouts) -> None:
        self._engine = engine
        self._method = method
        self._timeouts = timeouts
        self._refusal = bytearray()
        self.head: Head | None = None
        self.limit = timeouts.first_byte

    @abstractmethod
    def accept(self, head: Head, rest: bytes) -> None:
        """A 2xx head came, and with it the body bytes `rest`; connection.feed is to be set to whatever takes more."""

    @abstractmethod
    def finish(self) -> None:
        """The body ended with its connection, as its framing allows."""

    @abstractmethod
    def salvage(self, payload: bytes) -> None:
        """The body's framing broke behind these bytes of it: what is whole among them still counts. fail() follows."""

    def fail(self, error: Exception) -> None:
        """The answer will not be completed; the connection is closed already."""
        self.settle(error)

    def begin(self, connection: Connection) -> asyncio.Future[None]:
        """Get ready for an answer on `connection`; what is returned ends with it, or raises Stale or a BackendError."""
        self.connection = connection
        self.answered = asyncio.get_running_loop().create_future()
        return self.answered

    def settle(self, error: Exception | None = None) -> None:
        """Wake the request's task, unless it is awake (cancelled) already."""
        if self.answered.done():
            return
        if error is None:
            self.answered.set_result(None)
        else:
            self.answered.set_exception(error)

    def release(self) -> None:
        """Give the connection back after the last byte of the body."""
        decoder = self.decoder
        keep = self.head is not None and self.head.keep_alive
        self.connection.release(keep and not decoder.excess and not decoder.open_ended)

    # ------------------------------------------------------------------- connection's side

    def on_head(self, head: Head, rest: bytes) -> None:
        self.head = head
        self.decoder = decoder_for(head, self._method)
        if 200 <= head.status < 300:
            self.accept(head, rest)
        elif head.status >= 400:
            self.connection.feed = self._refused
            self._refused(rest)
        else:
            raise ProtocolError("a redirect")

    def on_lost(self, clean: bool) -> None:
        if self.head is None:
            stale = self.connection.went_stale and self._method in SAFE_METHODS
            self.fail(Stale() if stale else self._broken("closed the connection before it answered"))
        elif self.head.status >= 400:
            self._refuse(self.head)
        elif clean and self.decoder.open_ended:
            try:
                self.finish()
            except Exception as error:  # there is no caller to hear of it but the request's task
                self.on_failure(error)
        else:
            self.fail(self._broken("closed the connection in the middle of its answer"))

    def on_silence(self) -> None:
        self.connection.abort()
        message = f"Engine {self._engine!r} said nothing for {self.limit:g} s; retry later."
        self.fail(TimedOut(message, waited=self.limit))

    def on_failure(self, error: Exception) -> None:
        if isinstance(error, ProtocolError) and error.payload:
            self.salvage(error.payload)
        self.connection.abort()
        self.fail(self._broken(f"answered with {error}") if isinstance(error, ProtocolError) else error)

    # ------------------------------------------------------------------- refusals

    def _refused(self, data: bytes) -> None:
        """Collect an error answer's body, as far as anybody will read it."""
        if self.head is None:
            return
        self._refusal += self.decoder.feed(data)
        if self.decoder.done:
            self.release()
        elif len(self._refusal) < MAX_REFUSAL:
            return
        else:
            self.connection.abort()
        self._refuse(self.head)

    def _refuse(self, head: Head) -> None:
        body = bytes(self._refusal[:MAX_REFUSAL])
        self.settle(self._rejected(head.status, body, head.get("content-type"), retry_after(head.headers)))

    def _rejected(self, status: int, body: bytes, content_type: str, retry_after: float | None) -> Rejected:
        return Rejected(
            f"Engine {self._engine!r} refused the request with status {status}.",
            status=status,
            body=body,
            content_type=content_type,
            retry_after=retry_after,
        )

    def _broken(self, what: str) -> Broken:
        return Broken(f"Engine {self._engine!r} {what}; retry, and see its log if that goes on.")
