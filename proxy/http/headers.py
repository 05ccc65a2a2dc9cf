"""Headers that say one thing: whoever says it twice means something that nobody can guess."""

from __future__ import annotations

from aiohttp import web

from proxy.errors import invalid


def said_once(request: web.Request, name: str) -> str | None:
    """What a header says; None where it is not there. Raises INVALID where it is there several times."""
    said = request.headers.get(name)
    # Most are not there: the look for a second one is for those that are.
    if said is not None and len(request.headers.getall(name)) > 1:
        raise invalid(name, "it is said several times; say it once")
    return said
