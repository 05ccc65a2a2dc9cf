"""Which session a request names, and what holds for it."""

from __future__ import annotations

from aiohttp import web

from proxy.errors import invalid
from proxy.http.auth import authorization
from proxy.sessions.preferences import NO_PREFERENCES, Preferences
from proxy.sessions.sessions import Sessions

SESSIONS = web.AppKey("sessions", Sessions)

HEADER = "X-Session-Id"
FIELD = "session_id"


async def preferences(request: web.Request, sent: str | None = None) -> Preferences:
    """What holds for this request: of the session that its header, its query or its body names; of none, nothing.

    sent: the body's field. Raises INVALID where two are named, NOT_FOUND.
    """
    named = {*request.headers.getall(HEADER, []), *request.query.getall(FIELD, []), sent} - {None, ""}
    if len(named) > 1:
        raise invalid(FIELD, "the request names several sessions; name one")
    if not named:
        return NO_PREFERENCES
    return await request.app[SESSIONS].preferences(owner(request), named.pop())


def owner(request: web.Request) -> str:
    """Whose sessions this request may name: those of its API key; on a door without keys, those of everybody."""
    return request.app[SESSIONS].owner(authorization(request))
