"""Server-sent events out of bytes, and where in a stream they end (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from typing import NamedTuple

from backends.remote.heads import ProtocolError

MAX_EVENT = 64 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"


class SseEvent(NamedTuple):
    """One event. name: of its event field, or ""; data: its data lines joined by line feeds, not decoded."""

    name: str
    data: bytes


class SseParser:
    """Incremental: any partition of the same bytes gives the same events. Comments, id and retry are read over."""

    __slots__ = ("_after_cr", "_at_start", "_data", "_line", "_name", "_size")

    def __init__(self) -> None:
        self._line: list[bytes] = []  # pieces of an incomplete line
        self._size = 0
        self._data: list[bytes] = []
        self._name = ""
        self._after_cr = False
        self._at_start = True

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that `data` completes. Raises ProtocolError for an event beyond 64 MiB."""
        events: list[SseEvent] = []
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data.endswith(b"\r"):
            self._after_cr = True
        # Only CR, LF and CRLF end a line: bytes.splitlines knows no others.
        for piece in data.splitlines(keepends=True):
            line = piece.rstrip(b"\r\n")
            self._line.append(line)
            self._size += len(line)
            if self._size > MAX_EVENT:
                raise ProtocolError("an endless event")
            if len(piece) > len(line):
                self._end_of_line(events)
        return events

    def _end_of_line(self, events: list[SseEvent]) -> None:
        line = b"".join(self._line)
        self._line.clear()
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            if self._data:
                events.append(SseEvent(self._name, b"\n".join(self._data)))
            self._data, self._name, self._size = [], "", 0
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")


def last_event_end(data: bytes) -> int:
    """The position behind the last blank line in `data`; 0 if there is none."""
    end = data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
    for blank in (b"\n\r\n", b"\r\r"):
        found = data.rfind(blank, end)
        if found >= 0:
            end = found + len(blank)
    return end


class EventGate:
    """Lets whole events through and holds the rest back, so that a cut never shows a client half an event.

    held: bytes held; torn: the bytes let through last ended inside an event (it had outgrown `limit`).
    """

    __slots__ = ("_limit", "_parts", "_tail", "held", "torn")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._tail = b""
        self.held = 0
        self.torn = False

    def feed(self, payload: bytes) -> bytes:
        """What may go on now, in order, nothing lost."""
        # A blank line may straddle reads: three bytes of what came before complete the longest one.
        seam = self._tail + payload
        cut = last_event_end(seam) - len(self._tail)
        self._tail = seam[-3:]
        if cut > 0:
            self.torn = False
            self._parts.append(payload[:cut])
            whole = self.flush()
            payload = payload[cut:]
        else:
            whole = b""
        if payload:
            self._parts.append(payload)
            self.held += len(payload)
        if self.held > self._limit or (self.torn and self.held):
            self.torn = True
            whole += self.flush()
        return whole

    def flush(self) -> bytes:
        """Whatever is held."""
        held = b"".join(self._parts)
        self._parts, self.held = [], 0
        return held
