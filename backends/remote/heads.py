"""Reading an engine's response head: strict where leniency would let two readers disagree about where a body ends."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_HEAD = 64 * 1024

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n\x00]*)?", re.ASCII)
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\x00]*)")
_DIGITS = re.compile(r"[0-9]{1,18}")


class ProtocolError(ValueError):
    """The peer does not speak HTTP/1.x as RFC 9112 has it; the message is a phrase for operators, free of peer bytes.

    payload: what the same read had brought of the body, sound, before that.
    """

    payload = b""


class Head(NamedTuple):
    """A response head. headers: names in lower case, in order; length: Content-Length; chunked: Transfer-Encoding."""

    status: int
    headers: tuple[tuple[str, str], ...]
    keep_alive: bool
    length: int | None
    chunked: bool
    content_type: str

    def get(self, name: str) -> str:
        """The first value of header `name` (lower case), or ""."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def is_event_stream(self) -> bool:
        """Whether the body is server-sent events."""
        return self.content_type.startswith("text/event-stream")


def parse_head(block: bytes) -> Head:
    """Parse everything before the blank line. Raises ProtocolError (RFC 9112 sections 4, 5 and 6.3)."""
    first, *lines = block.split(b"\r\n")
    status_line = _STATUS_LINE.fullmatch(first)
    if status_line is None:
        raise ProtocolError("no HTTP/1.x status line")
    http11 = status_line[1] == b"1"
    headers: list[tuple[str, str]] = []
    length: int | None = None
    chunked, keep_alive, content_type = False, http11, ""
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise ProtocolError("a malformed header line")
        name = field[1].decode("ascii").lower()
        value = field[2].decode("utf-8", "replace").rstrip(" \t")
        headers.append((name, value))
        if name == "content-type":
            content_type = value.lower()
        elif name == "content-length":
            length = _content_length(value, length)
        elif name == "transfer-encoding":
            if chunked or not http11 or value.lower() != "chunked":
                raise ProtocolError("an unknown transfer encoding")
            chunked = True
        elif name == "connection" and "close" in value.lower():
            keep_alive = False
    if chunked and length is not None:
        raise ProtocolError("both a content length and a transfer encoding")
    return Head(int(status_line[2]), tuple(headers), keep_alive, length, chunked, content_type)


def _content_length(value: str, known: int | None) -> int:
    if not _DIGITS.fullmatch(value) or known not in (None, int(value)):
        raise ProtocolError("a malformed content length")
    return int(value)
