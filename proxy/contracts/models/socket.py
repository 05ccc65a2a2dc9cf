"""The socket: `/ws/{session id}`, and `/ws` for what concerns everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial

from aiohttp import web

from proxy.contracts.models.captions import Captions
from proxy.contracts.models.conversation import Conversation
from proxy.contracts.models.sessions import changed
from proxy.errors import ApiError, ErrorCode
from proxy.http.observe import CALL
from proxy.http.sessions import SESSIONS, owner
from proxy.http.websocket import TRY_AGAIN, Goodbye, Socket, converse, race
from proxy.keys import CLOSING, EVENTS, SETTINGS, TRAFFIC
from proxy.storage.errors import StorageUnavailable

UNKNOWN_SESSION = 4404
LOOK_SECONDS = 15.0
"""Between two looks whether the session is still there, at most; each keeps it from expiring."""
LOOKS = 4
"""In the time after which a session expires, at least."""


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
                await _connect(request, sid)
        except ApiError as error:
            await conversation.complain(error)
            code = UNKNOWN_SESSION if error.code is ErrorCode.NOT_FOUND else TRY_AGAIN
            raise Goodbye(code, error.message) from error
        try:
            await race(conversation.run(), *([] if sid is None else [_while_it_lasts(request, sid)]))
        finally:
            await captions.close()


async def _connect(request: web.Request, sid: str) -> None:
    """What waited for this connection holds from now on, and whoever listens is told. Raises ApiError."""
    done = await request.app[SESSIONS].connect(owner(request), sid)
    if done is not None and done.applied:
        request.app[EVENTS].publish(changed(done), sid, request[CALL].request_id)


async def _while_it_lasts(request: web.Request, sid: str) -> None:
    """Keep the session alive. When it is no more, those who listen are told, and leave."""
    pause = min(LOOK_SECONDS, request.app[SETTINGS].session_idle_seconds / LOOKS)
    until = datetime.now(UTC) + timedelta(seconds=request.app[SETTINGS].session_idle_seconds)
    while True:
        await asyncio.sleep(pause)
        try:
            until = (await request.app[SESSIONS].get(owner(request), sid)).expires
        except StorageUnavailable:
            continue
        except ApiError:
            # Somebody has ended it where we do not hear of that, unless its time was over.
            await request.app[CLOSING](sid, "expired" if datetime.now(UTC) >= until else "deleted")
            await asyncio.Event().wait()
