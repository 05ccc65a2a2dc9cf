"""What a caller says of doing its request twice."""

from __future__ import annotations

from aiohttp import web

from proxy.errors import invalid
from proxy.http.headers import said_once

HEADER = "X-Switchboard-Retry"
SAFE = "safe"


def is_safe(request: web.Request) -> bool:
    """Whether doing the request twice does no harm: `X-Switchboard-Retry: safe`. Raises INVALID for any other value.

    Then it may be sent to a second engine though a first may have done it, or be doing it still. An `Idempotency-Key` is no
    such word: it asks that the request be done once.
    """
    said = said_once(request, HEADER)
    if said is None:
        return False
    if said.strip().lower() != SAFE:
        raise invalid(HEADER, f"{said[:40]!r} is not `{SAFE}`, which is all that can be said")
    return True
