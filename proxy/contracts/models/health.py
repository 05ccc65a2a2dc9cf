"""Is a model well? Tried out, not guessed: `POST /api/models/{model_id}/health-check`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from aiohttp import web

from backends.errors import BackendError
from backends.types import JsonObject
from proxy.contracts.models.named import named_model, refuse_options
from proxy.contracts.models.sessions import timestamp
from proxy.contracts.models.status import DEGRADED_FROM
from proxy.keys import DISPATCHER, LIFECYCLE
from proxy.lifecycle.manager import LifecycleManager
from proxy.lifecycle.memory import Room
from proxy.lifecycle.places import Check, Place, Verdict
from proxy.registry.models import ModelEntry
from proxy.routing.candidates import trouble

PATIENCE = 30.0
"""Seconds that a tiny inference may take, behind whatever runs."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One look at a model. message: what is wrong, or why nothing was run; seconds: of the inference, None = none ran."""

    loaded: bool
    ran: bool
    load_message: str | None = None
    run_message: str | None = None
    seconds: float | None = None


def routes() -> Iterable[web.RouteDef]:
    """The path of health checks."""
    return (web.post("/api/models/{model_id:.+}/health-check", check_health),)


async def check_health(request: web.Request) -> web.Response:
    """`POST /api/models/{model_id}/health-check`: a ModelHealthCheckResponse. It loads nothing that is not loaded."""
    entry = await named_model(request)
    await refuse_options(request)
    lifecycle = request.app[LIFECYCLE]
    choices = request.app[DISPATCHER].fleet.candidates(entry)
    tried = await _tried(lifecycle, entry, trouble(entry, choices, asyncio.get_running_loop().time()))
    room, now = await lifecycle.gauge.room(), datetime.now(UTC)
    place = lifecycle.place(entry)
    error_rate = place.figures.summary(asyncio.get_running_loop().time()).error_rate
    body = report(entry.name, tried, place, room, lifecycle.rules.pressure, error_rate)
    lifecycle.checked(entry, Check(now, body.verdict, tried.seconds))
    answer = {**body.answer, "checked_at": timestamp(now)}
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


@dataclass(frozen=True, slots=True)
class Report:
    """What is told of a check; answer: but for its time."""

    verdict: Verdict
    answer: JsonObject


def report(name: str, tried: Tried, place: Place, room: Room, pressure: float, error_rate: float) -> Report:
    """The ModelHealthCheckResponse. pressure: share of a memory in use beyond which it counts as short."""
    short = room.used > pressure * room.total
    gpu = room.gpu if place.device == "cuda" else None
    full = gpu is not None and gpu.used > pressure * gpu.total
    advice = []
    if not tried.loaded and not place.remote:
        advice.append(f"Load the model: POST /api/models/{name}/load.")
    if tried.loaded and not tried.ran:
        advice.append("Load the model anew, or look at the server's log.")
    if short or full:
        advice.append("Unload models that are not in use, or use smaller ones: memory is short.")
    if error_rate >= DEGRADED_FROM:
        advice.append(f"{100 * error_rate:.0f} % of its latest inferences failed: look at the server's log.")
    failed = not (tried.loaded and tried.ran)
    verdict: Verdict = "unhealthy" if failed else "degraded" if advice else "healthy"
    checks: JsonObject = {
        "loading": _check(tried.loaded, tried.load_message),
        "inference": _check(tried.ran, tried.run_message),
        "memory": {**_check(not short), "usage_mb": round(place.memory_mb or 0.0, 1), "limit_mb": round(room.total, 1)},
    }
    if tried.seconds is not None:
        checks["inference"] = {**_check(tried.ran, tried.run_message), "latency_ms": round(tried.seconds * 1e3, 3)}
    if gpu is not None:
        checks["gpu"] = {**_check(not full), "usage_percent": round(100 * gpu.used / gpu.total, 1)}
    return Report(verdict, {"model_id": name, "status": verdict, "checks": checks, "recommendations": [*advice]})


async def _tried(lifecycle: LifecycleManager, entry: ModelEntry, trouble: str | None) -> Tried:
    """trouble: why no engine elsewhere serves it, by what requests have shown: that comes before what engines say."""
    place = lifecycle.place(entry)
    if not place.open:
        why = place.error.message if place.error is not None else "The model is not loaded."
        return Tried(False, False, why, "Nothing was run: the model is not loaded.")
    if place.remote and trouble is not None:
        return Tried(True, False, None, trouble)
    if place.remote:
        health = await lifecycle.engine_health(entry)
        told = None if health.ok else health.reason
        return Tried(
            health.ok, health.ok, told, told or "Nothing was run: its engine, which runs elsewhere, says it is well."
        )
    try:
        async with asyncio.timeout(PATIENCE):
            seconds = await lifecycle.try_out(entry)
    except TimeoutError:
        return Tried(True, False, None, f"It did not answer within {PATIENCE:g} s.")
    except BackendError as error:
        return Tried(True, False, None, error.message)
    if seconds is None:
        return Tried(True, True, None, "Nothing was run: no small input is known for its task.")
    return Tried(True, True, None, None, seconds)


def _check(passed: bool, message: str | None = None) -> JsonObject:
    said: JsonObject = {"status": "pass" if passed else "fail"}
    return said if message is None else {**said, "message": message}
