"""The splice: an engine's answer to the client's socket, as bytes, between two protocols and without a task per chunk."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from backends.base import RelayOutcome, RelayRequest, Sink
from backends.errors import BackendError, TimedOut, Unavailable
from backends.remote import accounting
from backends.remote.client import RemoteClient
from backends.remote.exchange import FINISHED_FOR, Answer
from backends.remote.framing import LAST_CHUNK, chunk, size_lines, whole_event_chunks
from backends.remote.headers import forwarded
from backends.remote.heads import Head, ProtocolError
from backends.remote.pool import Message
from backends.remote.sse import EventGate

HELD_BACK = 256 * 1024  # bytes of an incomplete event that wait for its end; a longer one is let through as it comes
WRITE_TIMEOUT = 60.0  # seconds for which a client may take nothing before it is given up
GAVE_UP = frozenset({"abort", "error", "failed", "cancelled"})  # finish reasons that tell of a failure

LOOK_EVERY = 4  # reads between two looks at the pace and at the client's buffer, on the hot path
LARGE = 16 * 1024  # bytes of a read after which the client's buffer is looked at in any case

_TERMINAL_WITHIN = 4096


async def relay(
    client: RemoteClient,
    request: RelayRequest,
    sink: Sink,
    outcome: RelayOutcome,
    *,
    write_timeout: float = WRITE_TIMEOUT,
) -> None:
    """Forward `request` to the engine and its answer to `sink`, as backends.base.Relay says.

    Raises BackendError before sink.start() only; ConnectionError when the client is gone, or took nothing for
    write_timeout seconds. Cancelling closes the engine's connection; a client that is still there is told.
    """
    splice = Splice(client, request, sink, outcome, write_timeout)
    try:
        await client.perform(splice, Message(request.method, request.path, request.headers, request.body))
    except asyncio.CancelledError:
        if not sink.gone:
            splice.fail(Unavailable("The server is shutting down; ask again."))
        raise
    finally:
        splice.close()


class Splice(Answer):
    """An answer on its way from an engine's connection to a client's sink."""

    __slots__ = (
        "_aligned",
        "_chunked",
        "_client",
        "_gate",
        "_json_bytes",
        "_looked_at",
        "_outcome",
        "_reads",
        "_recent",
        "_request",
        "_resuming",
        "_single",
        "_sink",
        "_started",
        "_stream",
        "_write_timeout",
    )

    def __init__(
        self,
        client: RemoteClient,
        request: RelayRequest,
        sink: Sink,
        outcome: RelayOutcome,
        write_timeout: float,
    ) -> None:
        super().__init__(client.name, request.method, client.timeouts)
        self._request = request
        self._sink = sink
        self._outcome = outcome
        self._write_timeout = write_timeout
        self._gate = EventGate(HELD_BACK)
        self._recent: deque[bytes] = deque(maxlen=accounting.KEPT_READS)
        self._resuming: asyncio.Task[None] | None = None
        self._client = client
        self._reads = 0  # since the last look
        self._looked_at = 0.0
        self._single = 0  # rounds in a row that brought one event alone
        self._json_bytes = 0
        self._started = False
        self._stream = False  # the answer is server-sent events
        self._chunked = False  # we frame the body towards the client
        self._aligned = False  # between two chunks and between two events, so that a read may pass as it is

    # ------------------------------------------------------------------- the beginning

    def accept(self, head: Head, rest: bytes) -> None:
        if head.content_type.startswith("text/html"):
            # Whatever stands in the engine's place; an SDK that streams would read it as an answer without words.
            raise ProtocolError("a web page")
        self._stream = head.is_event_stream and not self.decoder.done
        if not self._stream:
            if "json" in head.content_type:
                self._recent = deque()
            self._start(head)
            self.connection.feed = self._body
            self._body(rest)
        elif head.get("content-encoding") in {"", "identity"}:
            self.connection.feed = self._beginning
            self._beginning(rest)
        else:
            raise ProtocolError("a compressed event stream that nobody asked for")

    def finish(self) -> None:
        if self._started:
            self._end(b"")
        else:
            self._open(b"", ended=True)

    def _beginning(self, data: bytes) -> None:
        """Take a stream's bytes up to its first whole event."""
        payload = self._gate.feed(self.decoder.feed(data))
        if payload or self.decoder.done:
            self._open(payload, ended=self.decoder.done)

    def _open(self, payload: bytes, *, ended: bool) -> None:
        """Commit to a status: the first event may be an error, and then there is no 200 to pass on."""
        if ended:
            payload += self._gate.flush()
        if not payload or self.head is None:
            raise ProtocolError("an empty event stream")
        error = accounting.leading_error(payload)
        if error is not None:
            self.on_failure(self._rejected(error.status, error.body, "application/json", None))
            return
        self._start(self.head)
        self.connection.feed = self._events
        if ended:
            self._end(payload)
        else:
            self._send(payload)
            self._align()

    def _start(self, head: Head) -> None:
        headers = forwarded(head, stream=self._stream)
        if head.length is not None and not self._stream and head.status != 204:
            headers.append(("Content-Length", str(head.length)))
        elif (self._stream or not self.decoder.done) and self._sink.chunked_ok:
            headers.append(("Transfer-Encoding", "chunked"))
            self._chunked = True
        self._outcome.status = head.status
        self.limit = self._pause_allowed()
        self._started = True
        self._sink.start(head.status, headers, stream=self._stream)

    def salvage(self, payload: bytes) -> None:
        """Pass on the whole events among the last sound bytes; the first of them decide about the status as ever."""
        whole = self._gate.feed(payload) if self._stream else b""
        if whole and self._started:
            self._send(whole)
        elif whole:
            self._open(whole, ended=False)

    # ------------------------------------------------------------------- the middle

    def _events(self, data: bytes) -> None:
        """Take a stream's bytes. The hot path: a read of whole chunks and events is passed on as the object it is."""
        if self._aligned:
            if whole_event_chunks(data):
                self._sink.write(data)
                self._recent.append(data)
                self._reads += 1
                if self._reads >= LOOK_EVERY or len(data) > LARGE:
                    self._look()
                return
            last = data.endswith(LAST_CHUNK) and whole_event_chunks(data[: -len(LAST_CHUNK)])
            if last and self._complete(data):
                self._sink.write(data)
                self._recent.append(data)
                self.release()
                self.settle()
                return
        payload = self._gate.feed(self.decoder.feed(data))
        if self.decoder.done:
            self._end(payload)
            return
        if payload:
            self._send(payload)
        self._align()

    def _align(self) -> None:
        """See whether the next read may be passed on as it is."""
        self._aligned = self._chunked and self.decoder.boundary and not self._gate.held and not self._gate.torn

    def _look(self) -> None:
        """See whether the client keeps up, and how fast events come: not at each of them, since asking costs as much."""
        if self._sink.full:
            self._pause()
        if len(self._recent[-1]) > LARGE:
            self._forget()
        now = time.monotonic()
        if self._client.rounds.worth_while(self._reads, now - self._looked_at):
            self._single = 0
            self.connection.feed = self._round
            self.connection.join(self._client.rounds)
        self._reads = 0
        self._looked_at = now
        self.limit = self._pause_allowed()

    def _round(self, data: bytes) -> None:
        """Take what came since the last round; where that is one event, time and again, each is worth its own read."""
        self._single = self._single + 1 if data.startswith(size_lines(len(data))) else 0
        self._events(data)
        if self._single == LOOK_EVERY and not self.answered.done():
            self.connection.feed = self._events
            self.connection.leave_rounds()

    # ------------------------------------------------------------------- other bodies

    def _body(self, data: bytes) -> None:
        """Take the bytes of anything but a stream."""
        payload = self.decoder.feed(data)
        if self.decoder.done:
            self._end(payload)
        elif payload:
            self._send(payload)

    def _send(self, payload: bytes) -> None:
        self._count(payload)
        self._sink.write(chunk(payload) if self._chunked else payload)
        if self._sink.full:
            self._pause()

    def _count(self, payload: bytes) -> None:
        outcome = self._outcome
        if outcome.first_byte_at is None:
            outcome.first_byte_at = time.monotonic()
            if outcome.began is not None:
                outcome.began()
        self._recent.append(payload)
        if not self._stream:
            self._json_bytes += len(payload)
            if self._json_bytes > accounting.MAX_JSON:
                self._recent.clear()
        elif len(payload) > LARGE:
            self._forget()

    def _forget(self) -> None:
        """Of large reads only what the end is looked for in is kept: many of them would be megabytes for each slow client."""
        tail = self._tail(accounting.MAX_TAIL)[-accounting.MAX_TAIL :]
        self._recent.clear()
        self._recent.append(tail)

    # ------------------------------------------------------------------- the end

    def _end(self, payload: bytes) -> None:
        """The body ended as its framing says; a stream is complete only if it said so itself, too."""
        held = self._gate.flush()
        if self._stream and not self._complete(payload + held):
            if payload:
                self._send(payload)
            self.connection.abort()
            self.fail(self._broken("ended the stream early"))
            return
        payload += held
        if payload:
            self._count(payload)
        if self._chunked:
            payload = chunk(payload) + LAST_CHUNK if payload else LAST_CHUNK
        if payload:
            self._sink.write(payload)
        self.release()
        self.settle()

    def _complete(self, last: bytes) -> bool:
        terminal = self._request.terminal
        if not terminal:
            return True
        near_end = (self._tail(_TERMINAL_WITHIN) + last)[-_TERMINAL_WITHIN:]
        return any(mark in near_end for mark in terminal)

    def _pause_allowed(self) -> float:
        """Seconds of silence after which to see whether the stream was over, where a single finish would say so."""
        idle = self._timeouts.idle
        return min(idle, FINISHED_FOR) if self._stream and self._request.choices == 1 else idle

    def on_silence(self) -> None:
        if self._started and self.limit < self._timeouts.idle and not self._finished():
            self.limit = self._timeouts.idle
        else:
            super().on_silence()

    def _finished(self) -> bool:
        """Whether the stream has told how its only choice ended: some engines forget the last word."""
        seen = accounting.of_stream(self._tail(accounting.MAX_TAIL))
        return self._request.choices == 1 and seen.finish_reason is not None and seen.finish_reason not in GAVE_UP

    def fail(self, error: Exception) -> None:
        """Before the first byte the request's task raises `error`; after it the client is told in-band, or cut off."""
        if self._started:
            try:
                self._tell(error)
            except Exception as failure:  # whatever the sink raises is what the request's task must see
                self.settle(failure)
                return
        if self._started and isinstance(error, BackendError):
            self.settle()
        else:
            self.settle(error)

    def _tell(self, error: Exception) -> None:
        if not isinstance(error, BackendError):
            self._sink.abort()
            return
        if self._stream and self._request.terminal and not self._gate.held:
            # All was said, though the framing, or even the last word, is missing. An error now would spoil a whole answer.
            if self._complete(b""):
                self._sink.write(LAST_CHUNK if self._chunked else b"")
                return
            if isinstance(error, TimedOut) and self._finished():
                last = self._request.terminal[0] + b"\n\n"
                self._sink.write(chunk(last) + LAST_CHUNK if self._chunked else last)
                return
        self._outcome.error = error
        # Inside a torn event, or a body without events, nothing that we add could be told from the engine's bytes.
        if not self._stream or self._gate.torn:
            self._sink.abort()
            return
        event = self._request.error_event(error)
        self._sink.write(chunk(event) + LAST_CHUNK if self._chunked else event)

    def close(self) -> None:
        """After the last byte, or the caller's cancellation: note what was seen."""
        if self._resuming is not None:
            self._resuming.cancel()
        if not self._started:
            return
        outcome = self._outcome
        kept = self._tail(accounting.MAX_TAIL if self._stream else accounting.MAX_JSON)
        seen = accounting.of_stream(kept) if self._stream else accounting.of_json(kept)
        outcome.usage, outcome.finish_reason = seen.usage, seen.finish_reason
        if outcome.error is None and (fault := self._fault(seen)):
            outcome.error = self._broken(fault)

    def _fault(self, seen: accounting.Seen) -> str:
        """What was wrong with an answer that came to its end, though the client got it as it is; empty for a sound one."""
        if seen.failed:
            return "reported an error in the middle of its answer"
        if seen.finish_reason in GAVE_UP:
            return "gave up in the middle of its answer"
        ended = self.answered.done() and not self.answered.cancelled() and self.answered.exception() is None
        if ended and self._stream and self._request.choices and seen.finish_reason is None:
            return "ended its answer without saying why"
        return ""

    def _tail(self, limit: int) -> bytes:
        """The last reads, at least `limit` bytes if there were that many."""
        size, count = 0, 0
        for read in reversed(self._recent):
            size += len(read)
            count += 1
            if size >= limit:
                break
        return b"".join(list(self._recent)[len(self._recent) - count :])

    # ------------------------------------------------------------------- backpressure

    def _pause(self) -> None:
        """The client reads slower than the engine writes: let the engine wait."""
        self.connection.pause()
        if self._resuming is None:
            self._resuming = asyncio.get_running_loop().create_task(self._resume())

    async def _resume(self) -> None:
        try:
            async with asyncio.timeout(self._write_timeout):
                await self._sink.drained()
        except TimeoutError:
            self.on_failure(ConnectionAbortedError(f"the client took nothing for {self._write_timeout:g} s"))
        except Exception as error:  # the request's task must see it, this one has nobody to tell
            self.on_failure(error)
        else:
            self._resuming = None
            self.connection.resume()
