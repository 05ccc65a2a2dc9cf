"""Sessions and their model configuration: `/api/sessions`, `/api/sessions/{session_id}/models/config`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime

import orjson
from aiohttp import web

from backends.types import Json, JsonObject
from proxy.errors import ApiError, ErrorCode, invalid
from proxy.events.values import SessionConfigUpdated
from proxy.http.body import read_json
from proxy.http.observe import CALL
from proxy.http.sessions import SESSIONS, owner
from proxy.keys import CLOSING, EVENTS
from proxy.sessions.config import ModelConfig
from proxy.sessions.sessions import Configured
from proxy.sessions.values import Session

CONFIG = frozenset(ModelConfig.model_fields)
IMMEDIATELY = "apply_immediately"


def routes() -> Iterable[web.RouteDef]:
    """The paths of sessions."""
    return (
        web.post("/api/sessions", create),
        web.get("/api/sessions", list_all),
        web.delete("/api/sessions", delete_all),
        web.get("/api/sessions/{session_id}", get_one),
        web.delete("/api/sessions/{session_id}", delete_one),
        web.get("/api/sessions/{session_id}/models/config", get_config),
        web.put("/api/sessions/{session_id}/models/config", put_config),
    )


async def create(request: web.Request) -> web.Response:
    """`POST /api/sessions`: a new session, 201. The body may say its configuration as far as it differs from the defaults."""
    change = await _body(request, CONFIG) if request.can_read_body else {}
    session = await request.app[SESSIONS].create(owner(request), change)
    headers = {"Location": f"/api/sessions/{session.id}"}
    return _json(await _with_config(request, session), status=201, headers=headers)


async def list_all(request: web.Request) -> web.Response:
    """`GET /api/sessions`: the caller's own, oldest first, without their configuration."""
    sessions = await request.app[SESSIONS].all(owner(request))
    return _json({"sessions": [_described(session) for session in sessions]})


async def delete_all(request: web.Request) -> web.Response:
    """`DELETE /api/sessions`: none of the caller's own is left."""
    gone = await request.app[SESSIONS].end_all(owner(request))
    await asyncio.gather(*(request.app[CLOSING](sid, "deleted", request[CALL].request_id) for sid in gone))
    return _json({"deleted": [*gone]})


async def get_one(request: web.Request) -> web.Response:
    """`GET /api/sessions/{session_id}`; `next_config` is there while changes wait for the next connection."""
    session = await request.app[SESSIONS].get(owner(request), request.match_info["session_id"])
    return _json(await _with_config(request, session))


async def delete_one(request: web.Request) -> web.Response:
    """`DELETE /api/sessions/{session_id}`."""
    sid = request.match_info["session_id"]
    await request.app[SESSIONS].end(owner(request), sid)
    await request.app[CLOSING](sid, "deleted", request[CALL].request_id)
    return _json({"session_id": sid, "status": "deleted"})


async def get_config(request: web.Request) -> web.Response:
    """`GET /api/sessions/{session_id}/models/config`: the whole ModelConfig that holds for requests now."""
    sessions = request.app[SESSIONS]
    session = await sessions.get(owner(request), request.match_info["session_id"])
    return _json((await sessions.config(session.said)).as_json())


async def put_config(request: web.Request) -> web.Response:
    """`PUT /api/sessions/{session_id}/models/config`: lay a change over it (RFC 7396), now or from the next connection on."""
    change = await _body(request, CONFIG | {IMMEDIATELY})
    immediately = change.pop(IMMEDIATELY, True)
    if not isinstance(immediately, bool):
        raise invalid(IMMEDIATELY, "it must be true or false")
    sid = request.match_info["session_id"]
    done = await request.app[SESSIONS].configure(owner(request), sid, change, immediately=immediately)
    news = changed(done)
    if done.applied:
        request.app[EVENTS].publish(news, sid, request[CALL].request_id)
    answer: JsonObject = {
        "updated_at": news.updated_at,
        "config": {**news.config},
        "restart_required": news.restart_required,
    }
    if done.restart.milliseconds is not None:
        answer["estimated_restart_time_ms"] = done.restart.milliseconds
    return _json(answer)


def changed(done: Configured) -> SessionConfigUpdated:
    """What those who listen are told of a change."""
    return SessionConfigUpdated(
        updated_at=timestamp(done.session.updated),
        config=done.config.as_json(),
        restart_required=done.restart.required,
    )


async def _body(request: web.Request, known: Iterable[str]) -> JsonObject:
    _, body = await read_json(request)
    for name in body:
        if name not in known:
            message = f"`{name[:100]}` is not known here; leave it out. Known: {', '.join(sorted(known))}."
            raise ApiError(ErrorCode.INVALID, message, param=name[:100])
    return body


async def _with_config(request: web.Request, session: Session) -> JsonObject:
    sessions = request.app[SESSIONS]
    described = {**_described(session), "config": (await sessions.config(session.said)).as_json()}
    if session.staged is not None:
        described["next_config"] = (await sessions.config(session.staged)).as_json()
    return described


def _described(session: Session) -> JsonObject:
    return {
        "session_id": session.id,
        "created_at": timestamp(session.created),
        "updated_at": timestamp(session.updated),
        "last_used_at": timestamp(session.last_seen),
        "expires_at": timestamp(session.expires),
    }


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _json(body: Mapping[str, Json], *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json", headers=headers)
