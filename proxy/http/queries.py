"""What may stand in a query: what its path knows, and each of it once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias, cast

from aiohttp import web

from proxy.errors import ApiError, ErrorCode, invalid

Handle: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


def refuse_others(query: Mapping[str, str], known: Sequence[str]) -> None:
    """Raise INVALID naming a parameter that is none of these, or that is said twice."""
    names = [name for name, _ in query.items()]
    stranger = next((name for name in names if name not in known), None)
    if stranger is not None:
        message = f"`{stranger[:100]}` is not supported; leave it out. Known: {', '.join(known) or 'none'}."
        raise ApiError(ErrorCode.INVALID, message, param=stranger[:100])
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise invalid(twice, "it is said several times; say it once")


def without_query(route: web.RouteDef) -> web.RouteDef:
    """The route, on which any query is refused by name: nothing is taken and ignored."""

    handle = cast("Handle", route.handler)

    async def handler(request: web.Request) -> web.StreamResponse:
        refuse_others(request.query, ())
        return await handle(request)

    return web.RouteDef(route.method, route.path, handler, route.kwargs)
