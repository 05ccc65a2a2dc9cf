"""multipart/form-data, taken apart while it arrives: bytes are counted, heads and parts bounded, nothing in it is trusted.

aiohttp's own reader also takes preambles without end, nested forms and transfer encodings, none of which RFC 7578 wants.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

from aiohttp import web

from proxy.errors import ApiError, ErrorCode
from proxy.http.body import chunks, refuse_compressed

MAX_PARTS = 256
MAX_HEAD_BYTES = 8192
PLAIN_ENCODINGS = ("7bit", "8bit", "binary")

_PARAMETER = re.compile(r"""[ \t]*;[ \t]*([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))""")
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form. A file's name is not kept: nobody should be tempted to use it.

    head: all between the delimiter and the empty line before the data, as it came; none for a part that never was sent.
    """

    name: str
    data: bytes
    head: bytes = field(default=b"", compare=False, repr=False)


async def read_form(request: web.Request, limit: int) -> list[Part]:
    """The form's parts in order. limit: bytes of the whole body; the rest of a larger one is not read.

    Raises MEDIA_TYPE (not a form, or compressed), TOO_LARGE, REQUEST_TIMEOUT, or INVALID (malformed or cut off).
    """
    parser = FormParser(boundary_of(request))
    refuse_compressed(request)
    try:
        async with aclosing(chunks(request, limit)) as arriving:
            async for chunk in arriving:
                parser.feed(chunk)
    except web.RequestPayloadError as error:
        raise _malformed("it was cut off") from error
    return parser.finish()


def compose(parts: Iterable[Part], boundary: str) -> bytes:
    """The body of a form: parts that were read are written as they came, byte for byte.

    >>> compose([Part("model", b"x")], "b")
    b'--b\\r\\nContent-Disposition: form-data; name="model"\\r\\n\\r\\nx\\r\\n--b--\\r\\n'
    """
    delimiter = f"--{boundary}".encode("ascii")
    pieces: list[bytes] = []
    for part in parts:
        head = part.head or f'\r\nContent-Disposition: form-data; name="{part.name}"'.encode()
        pieces += (delimiter, head, b"\r\n\r\n", part.data, b"\r\n")
    return b"".join((*pieces, delimiter, b"--\r\n"))


class FormParser:
    """Bytes of a form in, in pieces of any size; parts out at the end."""

    def __init__(self, boundary: str) -> None:
        self._delimiter = f"\r\n--{boundary}".encode("ascii")
        # With a line break before it, the first delimiter looks like the others.
        self._buffer = bytearray(b"\r\n")
        # Not bound to self: a parser that holds itself would keep its upload until cycles are collected.
        self._step: Callable[[FormParser], bool] = FormParser._skip_preamble
        self._head = b""
        self._name = ""
        self._data = bytearray()
        self._parts: list[Part] = []
        self._complete = False

    def feed(self, chunk: bytes) -> None:
        """Take the next piece. Raises INVALID."""
        self._buffer += chunk
        while self._step(self):
            pass

    def finish(self) -> list[Part]:
        """The parts, once everything was fed. Raises INVALID when the closing delimiter never came."""
        if not self._complete:
            raise _malformed("its end is missing")
        return self._parts

    def _skip_preamble(self) -> bool:
        return self._take_to_delimiter(None)

    def _read_data(self) -> bool:
        if not self._take_to_delimiter(self._data):
            return False
        self._parts.append(Part(self._name, bytes(self._data), self._head))
        self._data.clear()
        return True

    def _take_to_delimiter(self, target: bytearray | None) -> bool:
        """Move what comes before the next delimiter to target; whether the delimiter has come."""
        at = self._buffer.find(self._delimiter)
        safe = at if at >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
        if target is not None:
            target += self._buffer[:safe]
        if at < 0:
            del self._buffer[:safe]
            return False
        del self._buffer[: at + len(self._delimiter)]
        self._step = FormParser._read_head
        return True

    def _read_head(self) -> bool:
        if self._buffer.startswith(b"--"):
            self._complete = True
            self._step = FormParser._skip_epilogue
            return True
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            if len(self._buffer) >= MAX_HEAD_BYTES:
                raise _malformed(f"a part's headers are larger than {MAX_HEAD_BYTES} bytes")
            return False
        if len(self._parts) == MAX_PARTS:
            raise _malformed(f"it has more than {MAX_PARTS} parts")
        self._head = bytes(self._buffer[:end])
        self._name = _name(self._head)
        del self._buffer[: end + 4]
        self._step = FormParser._read_data
        return True

    def _skip_epilogue(self) -> bool:
        self._buffer.clear()
        return False


def _name(head: bytes) -> str:
    """The field's name, from what stands between a delimiter and the part's data. Raises INVALID."""
    padding, *lines = head.decode("utf-8", "replace").split("\r\n")
    if padding.strip(" \t"):
        raise _malformed("a delimiter is followed by something else than a line break")
    headers = {name.lower(): value for name, _, value in (line.partition(":") for line in lines)}
    kind, parameters = _parameters(headers.get("content-disposition", ""))
    name = parameters.get("name")
    if kind != "form-data" or name is None:
        raise _malformed("a part has no `Content-Disposition: form-data` with a name")
    encoding = headers.get("content-transfer-encoding", "binary").strip().lower()
    if encoding not in PLAIN_ENCODINGS:
        raise _malformed(f"part `{name[:100]}` is encoded as {encoding[:40]}; send it as it is")
    return name


def boundary_of(request: web.Request) -> str:
    """What separates the form's parts. Raises MEDIA_TYPE, or INVALID where it is missing or longer than allowed."""
    kind, parameters = _parameters(request.headers.get("Content-Type", ""))
    if kind != "multipart/form-data":
        message = f"Content-Type `{kind[:100]}` is not accepted here; send multipart/form-data."
        raise ApiError(ErrorCode.MEDIA_TYPE, message)
    boundary = parameters.get("boundary", "")
    if not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise _malformed("its Content-Type has no boundary of 1 to 70 characters")
    return boundary


def _parameters(value: str) -> tuple[str, dict[str, str]]:
    """A header such as `form-data; name="file"`: its first word, and its parameters. Raises INVALID."""
    kind = value.partition(";")[0]
    parameters: dict[str, str] = {}
    at = len(kind)
    while match := _PARAMETER.match(value, at):
        name, quoted, plain = match.groups()
        if name.lower() in parameters:
            raise _malformed(f"the header `{value.strip()[:100]}` has `{name[:40]}` twice")
        parameters[name.lower()] = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
        at = match.end()
    if value[at:].strip(" \t;"):
        raise _malformed(f"the header `{value.strip()[:100]}` is not written as RFC 7578 says")
    return kind.strip().lower(), parameters


def _malformed(reason: str) -> ApiError:
    return ApiError(ErrorCode.INVALID, f"The form (multipart/form-data) cannot be read: {reason}.")
