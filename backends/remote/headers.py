"""Which headers cross the proxy, and how a request head is written: pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from backends.errors import Invalid
from backends.remote.heads import Head

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# The proxy speaks for itself in these; an engine's cookies would be set on the proxy's own domain.
_ENGINES_OWN = _HOP_BY_HOP | {"server", "date", "x-request-id", "set-cookie", "content-length", "alt-svc"}
_STREAMS_OWN = _ENGINES_OWN | {"x-accel-buffering", "cache-control"}
_WRITTEN_HERE = _HOP_BY_HOP | {"host", "content-length", "accept-encoding", "expect"}

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(r"/[\x21-\x7e]*")

UNBUFFERED = (("X-Accel-Buffering", "no"), ("Cache-Control", "no-cache"))


def forwarded(head: Head, *, stream: bool) -> list[tuple[str, str]]:
    """The engine's end-to-end headers for the client, without framing (RFC 9110 section 7.6.1)."""
    dropped = _STREAMS_OWN if stream else _ENGINES_OWN
    named = head.get("connection")
    if named:
        dropped = dropped | {name.strip().lower() for name in named.split(",")}
    kept = [field for field in head.headers if field[0] not in dropped and not _CONTROL.search(field[1])]
    if stream:
        kept.extend(UNBUFFERED)
    return kept


def fixed_fields(host: str, key: str | None) -> bytes:
    """The header lines that are the same in every request to one engine. Raises ValueError for a key with control bytes."""
    lines = [f"Host: {host}", "Accept-Encoding: identity"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if any(_CONTROL.search(line) for line in lines):
        raise ValueError("an engine's host or key contains control characters")
    return "".join(f"{line}\r\n" for line in lines).encode()


def request_head(
    method: str, target: str, fixed: bytes, headers: Iterable[tuple[str, str]], length: int, *, keyed: bool
) -> bytes:
    """A request head: `fixed` lines, then `headers` without those that are written here, then the length.

    keyed: `fixed` carries the engine's own Authorization. Raises Invalid for anything that would break out of its line.
    """
    if not _TARGET.fullmatch(target) or not _TOKEN.fullmatch(method):
        raise Invalid(f"The request target {target[:200]!r} is not a valid path.")
    lines: list[str] = []
    for name, value in headers:
        lower = name.lower()
        if lower in _WRITTEN_HERE or (keyed and lower == "authorization"):
            continue
        if not _TOKEN.fullmatch(name) or _CONTROL.search(value):
            raise Invalid(f"The header {name[:100]!r} contains characters that HTTP does not allow; remove them.")
        lines.append(f"{name}: {value}\r\n")
    if length or method not in {"GET", "HEAD"}:
        lines.append(f"Content-Length: {length}\r\n")
    fields = "".join(lines).encode("utf-8", "surrogateescape")
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method.encode(), target.encode(), fixed, fields)


def retry_after(headers: Sequence[tuple[str, str]]) -> float | None:
    """Seconds of a Retry-After header; None where there is none or it is a date (RFC 9110 section 10.2.3)."""
    value = next((value for name, value in headers if name == "retry-after"), "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 7 else None
