"""The socket: `/ws/{session id}`, and `/ws` for what concerns everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from aiohttp import web

from proxy.contracts.models.captions import Captions
from proxy.contracts.models.conversation import SESSION_ENDED, Conversation
from proxy.errors import ApiError, ErrorCode
from proxy.http.sessions import SESSIONS, owner
from proxy.http.websocket import TRY_AGAIN, Goodbye, Socket, converse, race
from proxy.keys import EVENTS, SETTINGS, TRAFFIC
from proxy.storage.errors import StorageUnavailable

UNKNOWN_SESSION = 4404
LOOK_SECONDS = 15.0
"""Between two looks whether the session is still there; each keeps it from expiring."""


def routes() -> Iterable[web.RouteDef]:
    """The paths of the socket."""
    return (web.get("/ws", socket), web.get("/ws/{sid}", socket))


async def socket(request: web.Request) -> web.StreamResponse:
    """`GET /ws` and `/ws/{sid}`, upgraded. An unknown session is told on the socket: browsers see no status of an upgrade."""
    with request.app[TRAFFIC].staying():
        return await converse(request, request.app[SETTINGS].allowed_origins, partial(_talk, request))


async def _talk(request: web.Request, socket: Socket) -> None:
    sid = request.match_info.get("sid")
    captions = Captions(request, sid)
    with request.app[EVENTS].listen(sid) as listener:
        conversation = Conversation(socket, request.app[EVENTS], listener, captions, request.app[TRAFFIC].leaving)
        try:
            if sid is not None:
                await request.app[SESSIONS].connect(owner(request), sid)
        except ApiError as error:
            await conversation.complain(error)
            code = UNKNOWN_SESSION if error.code is ErrorCode.NOT_FOUND else TRY_AGAIN
            raise Goodbye(code, error.message) from error
        try:
            await race(conversation.run(), _while_it_lasts(request, sid))
        finally:
            await captions.close()


async def _while_it_lasts(request: web.Request, sid: str | None) -> None:
    """Keep the session alive. Raises Goodbye when it is no more."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if sid is None:
            continue
        try:
            await request.app[SESSIONS].get(owner(request), sid)
        except StorageUnavailable:
            continue
        except ApiError as error:
            raise Goodbye(SESSION_ENDED, error.message) from error
