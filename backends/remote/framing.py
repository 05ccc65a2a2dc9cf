"""Where a response body ends: chunked, by length, or with the connection (RFC 9112 sections 6 and 7)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Protocol

from backends.remote.heads import Head, ProtocolError

LAST_CHUNK = b"0\r\n\r\n"
EVENT_END = b"\n\n\r\n"  # of a chunk that ends with an SSE event

_MAX_LINE = 16 * 1024
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")


class Decoder(Protocol):
    """Takes a body's raw bytes and gives its payload.

    done: the end was seen; boundary: between two chunks, nothing buffered; excess: bytes came after the end;
    open_ended: the body ends with the connection, so a clean close is its end.
    """

    done: bool
    boundary: bool
    excess: bool
    open_ended: bool

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`, possibly empty. Raises ProtocolError, with the payload that came before the fault."""


class LengthDecoder:
    """A body of `length` bytes, or of unknown length (None) up to the end of the connection."""

    __slots__ = ("_left", "boundary", "done", "excess", "open_ended")

    def __init__(self, length: int | None) -> None:
        self._left = length
        self.open_ended = length is None
        self.done = length == 0
        self.boundary = False
        self.excess = False

    def feed(self, data: bytes) -> bytes:
        if self._left is None:
            return data
        if len(data) > self._left:
            self.excess = True
            data = data[: self._left]
        self._left -= len(data)
        self.done = self._left == 0
        return data


class ChunkedDecoder:
    """A chunked body; chunk extensions and trailers are read over and dropped."""

    __slots__ = ("_held", "_in_trailer", "_left", "_trailer", "boundary", "done", "excess", "open_ended")

    def __init__(self) -> None:
        self._held = b""  # an incomplete line
        self._left = 0  # bytes to come of the current chunk, its CRLF included
        self._in_trailer = False
        self._trailer = 0
        self.open_ended = False
        self.boundary = True
        self.done = False
        self.excess = False

    def feed(self, data: bytes) -> bytes:
        payload: list[bytes] = []
        if self._held:
            data, self._held = self._held + data, b""
        position = 0
        try:
            while position < len(data) and not self.done:
                position = self._chunk(data, position, payload) if self._left else self._line(data, position)
        except ProtocolError as error:
            error.payload = b"".join(payload)
            raise
        self.excess = position < len(data)
        self.boundary = not (self._left or self._held or self._in_trailer)
        return b"".join(payload)

    def _chunk(self, data: bytes, position: int, payload: list[bytes]) -> int:
        """Take what `data` has of the current chunk and its CRLF."""
        size = max(self._left - 2, 0)
        stop = min(position + size, len(data))
        if stop > position:
            payload.append(data[position:stop])
            self._left -= stop - position
        if self._left <= 2:
            ending = data[stop : stop + self._left]
            if not b"\r\n"[2 - self._left :].startswith(ending):
                raise ProtocolError("a chunk longer than its size")
            self._left -= len(ending)
            stop += len(ending)
        return stop

    def _line(self, data: bytes, position: int) -> int:
        """Take a size line or a trailer line; keep an incomplete one."""
        end = data.find(b"\n", position)
        if end < 0:
            self._held = data[position:]
            if len(self._held) > _MAX_LINE:
                raise ProtocolError("an endless chunk size line")
            return len(data)
        line = data[position:end]
        if not line.endswith(b"\r"):
            raise ProtocolError("a bare line feed in the chunk framing")
        if self._in_trailer:
            self._trailer += len(line)
            if self._trailer > _MAX_LINE:
                raise ProtocolError("endless trailers")
            self.done = line == b"\r"
            return end + 1
        size = _SIZE_LINE.fullmatch(line[:-1])
        if size is None:
            raise ProtocolError("a malformed chunk size")
        count = int(size[1], 16)
        self._in_trailer = count == 0
        self._left = count + 2 if count else 0
        return end + 1


def decoder_for(head: Head, method: str) -> Decoder:
    """How the body behind `head` is framed (RFC 9112 section 6.3)."""
    if method == "HEAD" or head.status in {204, 304}:
        return LengthDecoder(0)
    return ChunkedDecoder() if head.chunked else LengthDecoder(head.length)


def chunk(payload: bytes) -> bytes:
    """`payload`, not empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def whole_event_chunks(data: bytes) -> bool:
    """Whether `data` is nothing but plain chunks that each end with an SSE event: a read that can be passed on as it is.

    Right when it says yes; events that hold EVENT_END in their middle take the decoder's way all the same.
    """
    if not data.endswith(EVENT_END):
        return False
    parts = data[: -len(EVENT_END)].split(EVENT_END)
    return all(part.startswith(size_lines(len(part) + len(EVENT_END))) for part in parts)


@lru_cache(maxsize=8192)
def size_lines(length: int) -> tuple[bytes, ...]:
    """How a chunk begins that holds an event and takes up `length` bytes with its framing; empty where none can.

    Two ways, with small digits and with capitals; all others (leading zeros, extensions) are left to the decoder.
    """
    for digits in range(1, 9):
        size = length - digits - 4
        if size >= 4 and len(size_line := b"%x\r\n" % size) == digits + 2:
            return (size_line, size_line.upper())
    return ()
