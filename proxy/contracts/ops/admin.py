"""What operators do while requests run: `/admin/reload`, `/admin/engines` and what is below it."""

from __future__ import annotations

import asyncio
import math
from dataclasses import asdict

from aiohttp import web

from backends.types import JsonObject
from proxy.contracts.ops.fleet import engine_object, replica_object
from proxy.errors import ApiError, ErrorCode, invalid
from proxy.http.body import read_body
from proxy.keys import DISPATCHER, MAINTENANCE, RELOADER, SETTINGS
from proxy.registry.config import ConfigError
from proxy.settings import Settings, variables

LONGEST_WAIT = 3600.0


async def reload(request: web.Request) -> web.Response:
    """`POST /admin/reload`: read the configuration anew and serve it; told is what has changed. A bad file changes nothing."""
    await _read_nothing(request)
    _query(request)
    try:
        found = await request.app[RELOADER].reload()
    except ConfigError as error:
        raise ApiError(ErrorCode.INVALID, f"The old configuration stays: {error}") from error
    changes: JsonObject = {kind: _plain(changes) for kind, changes in asdict(found).items() if any(changes.values())}
    return web.json_response(
        {
            "status": "reloaded" if found else "unchanged",
            "summary": found.words(),
            "changes": changes,
            "needs_restart": _environment(request.app[SETTINGS]),
        }
    )


async def engines(request: web.Request) -> web.Response:
    """`GET /admin/engines`: every engine, what it does now, and whether it would be asked."""
    _query(request)
    now = asyncio.get_running_loop().time()
    dispatcher, maintenance = request.app[DISPATCHER], request.app[MAINTENANCE]
    registry, fleet = dispatcher.router.registry, dispatcher.fleet
    listed = [engine_object(spec, registry, fleet, maintenance, now) for spec in registry.engines.values()]
    return web.json_response({"engines": listed, "leaving": [replica_object(each, now) for each in fleet.leaving]})


async def drain(request: web.Request) -> web.Response:
    """`POST /admin/engines/{name}/drain`: no new requests go there. wait: seconds until which those that run may end."""
    await _read_nothing(request)
    query = _query(request, "replica", "wait")
    seconds = _seconds(query["wait"]) if "wait" in query else 0.0
    maintenance, engine, replica = request.app[MAINTENANCE], request.match_info["name"], query.get("replica")
    maintenance.drain(engine, replica)
    if seconds:
        await maintenance.emptied(engine, replica, seconds)
    return _standing(request, engine, replica)


async def undrain(request: web.Request) -> web.Response:
    """`POST /admin/engines/{name}/undrain`: requests go there again."""
    await _read_nothing(request)
    query = _query(request, "replica")
    engine, replica = request.match_info["name"], query.get("replica")
    request.app[MAINTENANCE].undrain(engine, replica)
    return _standing(request, engine, replica)


def _standing(request: web.Request, engine: str, replica: str | None) -> web.Response:
    fleet, left = request.app[DISPATCHER].fleet, request.app[MAINTENANCE].in_flight(engine, replica)
    chosen = next((each for each in fleet.replicas(engine) if each.name == replica), None)
    draining = engine in fleet.drained if chosen is None else chosen.draining
    return web.json_response({"engine": engine, "replica": replica, "draining": draining, "in_flight": left})


async def _read_nothing(request: web.Request) -> None:
    """Refuse a body that says something: nobody would read it."""
    if (await read_body(request)).strip() not in (b"", b"{}"):
        raise ApiError(ErrorCode.INVALID, f"{request.path[:200]} takes no body; options go into the query.")


def _query(request: web.Request, *known: str) -> dict[str, str]:
    """The query, each name once. Raises INVALID."""
    for name in request.query:
        if name not in known:
            said = f"Known: {', '.join(known)}." if known else "It takes none."
            raise ApiError(ErrorCode.INVALID, f"`{name[:100]}` is no option of this path. {said}", param=name[:100])
        if len(request.query.getall(name)) > 1:
            raise ApiError(ErrorCode.INVALID, f"`{name}` was sent more than once.", param=name)
    return dict(request.query)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_WAIT:
        raise invalid("wait", f"{text[:40]!r} is no number of seconds from 0 to {LONGEST_WAIT:g}")
    return seconds


def _plain(changes: JsonObject) -> JsonObject:
    return {kind: value for kind, value in changes.items() if value}


def _environment(settings: Settings) -> list[str]:
    """What was set when the process started, and is not read again."""
    names = variables()
    return sorted(names[field] for field in settings.model_fields_set)
