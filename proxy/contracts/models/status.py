"""What models do now, as measured: `GET /api/models/status`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import psutil
from aiohttp import web

from backends.inprocess.cache import hub_cache
from backends.types import Json, JsonObject, Task
from proxy.contracts.models.named import GONE
from proxy.contracts.models.sessions import timestamp
from proxy.keys import CATALOG, DISPATCHER, LIFECYCLE, SETTINGS
from proxy.lifecycle.disk import used_mb
from proxy.lifecycle.figures import Summary
from proxy.lifecycle.memory import Room, read_room
from proxy.lifecycle.places import Place, Verdict
from proxy.lifecycle.states import State
from proxy.registry.catalog import Facts
from proxy.registry.models import ModelEntry

CPU_SECONDS = 0.1
DEGRADED_FROM = 0.1
"""Share of inferences that fail."""
ALIVE = (State.NOT_LOADED, State.ERROR, State.UNLOADING, State.LOADING, State.LOADED)


def routes() -> Iterable[web.RouteDef]:
    """The path of the statuses."""
    return (web.get("/api/models/status", get_status),)


async def get_status(request: web.Request) -> web.Response:
    """`GET /api/models/status`: a ModelsStatusResponse."""
    catalog = await request.app[CATALOG].open()
    places = request.app[LIFECYCLE].places()
    listed = request.app[DISPATCHER].router.registry.models
    data = request.app[SETTINGS].data
    caches = (hub_cache(os.environ), data / "converted", data / "conversions")
    room, cpu, disk = await asyncio.gather(
        asyncio.to_thread(read_room),
        asyncio.to_thread(psutil.cpu_percent, CPU_SECONDS),
        asyncio.to_thread(used_mb, caches),
    )
    now = datetime.now(UTC)
    body = {
        "asr_models": statuses("transcription", listed, places, now, time.monotonic(), _loadable(catalog.speech)),
        "mt_models": statuses("translation", listed, places, now, time.monotonic(), _loadable(catalog.translation)),
        "system_resources": resources(room, cpu, disk),
    }
    return web.Response(body=orjson.dumps(body), content_type="application/json")


def resources(room: Room, cpu_percent: float, disk_mb: float) -> JsonObject:
    """The `system_resources`, of the machine or of the container."""
    found: JsonObject = {
        "cpu_usage_percent": cpu_percent,
        "memory_usage_mb": round(room.used, 1),
        "disk_cache_usage_mb": round(disk_mb, 1),
    }
    return found if room.gpu is None else {**found, "gpu_memory_usage_mb": round(room.gpu.used, 1)}


def statuses(
    task: Task,
    listed: Sequence[ModelEntry],
    places: Sequence[Place],
    now: datetime,
    clock: float,
    loadable: Sequence[str] = (),
) -> list[Json]:
    """A ModelStatus for each model of a task: those that are configured, then others that were wanted, then those that could be.

    One that sessions have loaded in their own ways counts once, by the load that is furthest.
    """
    groups: dict[tuple[str, object], list[Place]] = {}
    for place in places:
        groups.setdefault((place.key.engine, replace(place.key.model, variant="")), []).append(place)
    named = [(entry.name, groups.get((entry.engine, entry.spec), [])) for entry in listed if entry.task == task]
    configured = {(entry.engine, entry.spec) for entry in listed}
    known = frozenset(loadable)
    for key, group in groups.items():
        name = group[0].entry.name
        is_model = name in known or any(place.state not in GONE for place in group)
        if key not in configured and group[0].entry.task == task and is_model:
            named.append((name, group))
    there = {name for name, _ in named}
    named += [(name, []) for name in loadable if name not in there]
    return [status(name, group, now, clock) for name, group in named]


def _loadable(known: Mapping[str, Facts]) -> list[str]:
    """The catalog's models that can be had from the hub: they are listed, and may be loaded."""
    return [facts.model_id for facts in known.values() if not facts.shipped]


def status(name: str, places: Sequence[Place], now: datetime, clock: float) -> JsonObject:
    """The ModelStatus of one model. clock: seconds, as its figures have them."""
    if not places:
        return _described(name, State.NOT_LOADED, None, Summary(0, 0.0, None, None, None, 0.0), now, clock)
    place = max(places, key=lambda place: ALIVE.index(_state(place)))
    found = _described(name, _state(place), place, place.figures.summary(clock), now, clock)
    found["memory_usage_mb"] = round(sum(place.memory_mb or 0.0 for place in places), 1)
    found["inference_count"] = sum(place.figures.count for place in places)
    return found


def verdict(state: State, error_rate: float) -> Verdict:
    """What the state and the latest inferences say of a model's health."""
    if state is State.ERROR:
        return "unhealthy"
    return "degraded" if error_rate >= DEGRADED_FROM else "healthy"


def _described(
    name: str, state: State, place: Place | None, figures: Summary, now: datetime, clock: float
) -> JsonObject:
    found: JsonObject = {"model_id": name, "status": state.value, "memory_usage_mb": 0.0, "inference_count": 0}
    if place is not None and place.loaded_on is not None and state is State.LOADED:
        found["loaded_at"] = timestamp(place.loaded_on)
    if place is not None and place.error is not None and state is State.ERROR:
        found["error_message"] = place.error.message
    found["health_check"] = _health(state, place, figures, _seen(place, now, clock))
    metrics: JsonObject = {
        "avg_inference_time_ms": _ms(figures.mean),
        "p95_inference_time_ms": _ms(figures.p95),
        "throughput_per_second": round(figures.rate, 4),
    }
    if place is not None and place.uses:
        metrics["cache_hit_rate"] = round(place.hits / place.uses, 4)
    found["performance_metrics"] = metrics
    return found


def _health(state: State, place: Place | None, figures: Summary, seen: datetime) -> JsonObject:
    """The last health check since the model was loaded; else what is known from loads and requests alone, until `seen`."""
    check = place.check if place is not None else None
    if check and place and place.loaded_on and check.at < place.loaded_on:
        check = None
    return {
        "last_check": timestamp(check.at if check else seen),
        "status": check.verdict if check else verdict(state, figures.error_rate),
        "response_time_ms": _ms(check.seconds if check else figures.latest),
        "error_rate": round(figures.error_rate, 4),
    }


def _seen(place: Place | None, now: datetime, clock: float) -> datetime:
    """When something was last seen of the model: a load, its failure, a request; now, for one that nobody wanted yet."""
    if place is None:
        return now
    used = [now - timedelta(seconds=max(0.0, clock - place.used_at))] if place.used_at else []
    loads = [moment for moment in (place.loaded_on, place.failed_on) if moment is not None]
    return max([*used, *loads], default=now)


def _state(place: Place) -> State:
    """The state as clients see it: an engine elsewhere has its models loaded, and what waits for its turn is loading."""
    if place.remote:
        return State.LOADED
    if place.leaving is not None:
        return State.UNLOADING
    return State.LOADING if place.attempt is not None else place.state


def _ms(seconds: float | None) -> float:
    """Milliseconds; 0 where nothing was measured yet, as the count of inferences says."""
    return 0.0 if seconds is None else round(seconds * 1e3, 3)
