"""Who may come in, and how urgently: bearer keys, looked up by digest so that the time taken tells nothing about a key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from proxy.caller import ANYONE, PRIORITIES, ApiKey, Caller, Priority, digest
from proxy.errors import ApiError, ErrorCode, invalid
from proxy.http.dialect import DialectOf, Handler
from proxy.http.headers import said_once
from proxy.http.observe import CALL
from proxy.http.websocket import bearer_of

Check: TypeAlias = Callable[[web.Request, "str | None"], None]

PRIORITY = "X-Switchboard-Priority"
HEARD = 1024
"""Spellings of accepted keys that are remembered, to be digested once."""


class Keys:
    """The accepted API keys; none at all means that the door is open.

    plain: keys without a name, which are numbered, and whose priority is normal; named: those of the configuration file.
    """

    def __init__(self, plain: Iterable[str], named: Iterable[ApiKey] = ()) -> None:
        self._plain = {
            digest(key): Caller(f"#{number}", highest=Priority.NORMAL) for number, key in enumerate(plain, 1)
        }
        self.accept(named)

    def __bool__(self) -> bool:
        return bool(self._callers)

    def accept(self, named: Iterable[ApiKey]) -> None:
        """From now on, accept these beside the plain ones, and no others."""
        self._callers = {**self._plain, **{each.key: each.caller for each in named}}
        self._heard: dict[str | None, Caller] = {}

    def check(self, authorization: str | None) -> Caller:
        """Whose key this is. Raises UNAUTHORIZED."""
        if not self._callers:
            return ANYONE
        caller = self.find(authorization)
        if caller is None:
            problem = "Incorrect API key" if authorization else "No API key"
            raise ApiError(
                ErrorCode.UNAUTHORIZED,
                f"{problem} provided. Send one of the server's keys as `Authorization: Bearer KEY`.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return caller

    def find(self, authorization: str | None) -> Caller | None:
        """Whose key this is; None where it is nobody's."""
        caller = self._heard.get(authorization)
        if caller is None:
            scheme, _, key = (authorization or "").partition(" ")
            caller = self._callers.get(digest(key.strip())) if scheme.lower() == "bearer" else None
            # Only who is known is remembered; a lookup compares hashes seeded at random before it looks at a key.
            if caller is not None and len(self._heard) < HEARD:
                self._heard[authorization] = caller
        return caller


def asking(caller: Caller, word: str) -> Caller:
    """The caller with the priority that its header asks for. Raises INVALID, or FORBIDDEN where it may not have that."""
    priority = PRIORITIES.get(word)
    if priority is None:
        raise invalid(PRIORITY, f"{word[:40]!r} is none of {', '.join(PRIORITIES)}")
    if priority < caller.highest:
        message = f"This key may ask for `{caller.highest!s}` at most, not for `{PRIORITY}: {word}`."
        raise ApiError(ErrorCode.FORBIDDEN, message, param=PRIORITY)
    return caller.asking(priority)


def authenticate(keys: Keys, operators: Check, dialect_of: DialectOf) -> Middleware:
    """The middleware that asks for a key on every path that is not public in its contract; for an operator's on their paths."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        dialect = dialect_of(request.path)
        caller = ANYONE
        if dialect.operators and request.path.startswith(dialect.operators):
            operators(request, authorization(request))
        elif dialect.own_users:
            caller = keys.find(authorization(request)) or ANYONE
        elif request.path not in dialect.public:
            caller = keys.check(authorization(request))
        wanted = said_once(request, PRIORITY)
        request[CALL].caller = caller if wanted is None else asking(caller, wanted)
        return await handler(request)

    return middleware


def authorization(request: web.Request) -> str | None:
    """What a request says of its right to come in; browsers' WebSockets say it in their subprotocol. Raises INVALID."""
    return said_once(request, hdrs.AUTHORIZATION) or bearer_of(request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL))
