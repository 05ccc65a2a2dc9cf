"""Who may come in: bearer keys, looked up by digest so that the time taken tells nothing about a key."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from proxy.errors import ApiError, ErrorCode
from proxy.http.dialect import DialectOf, Handler
from proxy.http.websocket import bearer_of


class Keys:
    """The accepted API keys; none at all means that the door is open."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = frozenset(_digest(key) for key in keys)

    def check(self, authorization: str | None) -> None:
        """Let the bearer of a known key pass. Raises UNAUTHORIZED."""
        if not self._digests:
            return
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or _digest(key.strip()) not in self._digests:
            problem = "Incorrect API key" if authorization else "No API key"
            raise ApiError(
                ErrorCode.UNAUTHORIZED,
                f"{problem} provided. Send one of the server's keys as `Authorization: Bearer KEY`.",
                headers={"WWW-Authenticate": "Bearer"},
            )


def authenticate(keys: Keys, dialect_of: DialectOf) -> Middleware:
    """The middleware that asks for a key on every path that is not public in its contract."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        dialect = dialect_of(request.path)
        if request.path not in dialect.public and not dialect.own_users:
            keys.check(authorization(request))
        return await handler(request)

    return middleware


def authorization(request: web.Request) -> str | None:
    """What a request says of its right to come in; browsers' WebSockets say it in their subprotocol."""
    return request.headers.get(hdrs.AUTHORIZATION) or bearer_of(request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL))


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
