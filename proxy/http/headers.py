"""Headers that say one thing: whoever says it twice means something that nobody can guess."""

from __future__ import annotations

from aiohttp import web

from proxy.errors import invalid


def said_once(request: web.Request, name: str) -> str | None:
    """What a header says; None where it is not there. Raises INVALID where it is there several times."""
    said = request.headers.getall(name, None)
    if said is None:
        return None
    if len(said) > 1:
        raise invalid(name, "it is said several times; say it once")
    return said[0]
