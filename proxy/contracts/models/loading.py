"""Models into memory and out of it: `POST /api/models/{model_id}/load`, `/unload`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from backends.types import Json, JsonObject
from proxy.contracts.models.named import named_model, refuse_options, telling
from proxy.contracts.models.sessions import timestamp
from proxy.errors import ApiError, ErrorCode
from proxy.http.body import read_json
from proxy.keys import LIFECYCLE
from proxy.lifecycle.manager import LifecycleManager
from proxy.lifecycle.places import Compute, Place
from proxy.lifecycle.scheduler import Priority
from proxy.lifecycle.states import State
from proxy.registry.models import ModelEntry

Level = Literal["none", "basic", "aggressive"]

OPTIMIZED: dict[Level, str | None] = {"none": "float32", "basic": None, "aggressive": "int8"}
"""In what a level computes; None = what the engine is configured for, or what suits its device."""


class ComputeConfig(BaseModel):
    """How to compute. What is left out is as the engine is configured."""

    model_config = ConfigDict(extra="forbid", strict=True)

    device: Literal["cpu", "cuda", "auto"] | None = None
    compute_type: Literal["int8", "float16", "float32"] | None = None
    optimization_level: Level | None = None


class LoadModelRequest(BaseModel):
    """The body of a load."""

    model_config = ConfigDict(extra="forbid", strict=True)

    compute_config: ComputeConfig | None = None
    priority: Priority = "normal"
    preload_cache: bool = False


def routes() -> Iterable[web.RouteDef]:
    """The paths of loading."""
    return (
        web.post("/api/models/{model_id:.+}/load", load_model),
        web.post("/api/models/{model_id:.+}/unload", unload_model),
    )


async def load_model(request: web.Request) -> web.Response:
    """`POST /api/models/{model_id}/load`: a LoadModelResponse, at once; how it goes on, events and the status tell."""
    entry = await named_model(request)
    wanted = await _body(request)
    lifecycle = request.app[LIFECYCLE]
    compute, warnings = chosen(wanted.compute_config)
    with telling(entry.name, device_asked_for=compute is not None):
        if lifecycle.place(entry).remote:
            return _json(_elsewhere(entry, wanted))
        await lifecycle.check(entry, compute or lifecycle.place(entry).compute)
        state = lifecycle.load(entry, priority=wanted.priority, compute=compute, warm=wanted.preload_cache)
        if state is State.LOADED and wanted.preload_cache:
            await lifecycle.try_out(entry)
    return _json(_answer(lifecycle, entry, state, warnings))


async def unload_model(request: web.Request) -> web.Response:
    """`POST /api/models/{model_id}/unload`: an UnloadModelResponse, when its running requests have ended and it is gone.

    What sessions have loaded of it in ways of their own goes, too.
    """
    entry = await named_model(request)
    await refuse_options(request)
    lifecycle = request.app[LIFECYCLE]
    place = lifecycle.place(entry)
    if place.remote:
        message = f"`{entry.name}` runs on the engine `{entry.engine}`, which loads and unloads its models by itself."
        raise ApiError(ErrorCode.UNSUPPORTED, message, details={"model_id": entry.name})
    with telling(entry.name):
        freed = sum([await _unloaded(lifecycle, way) for way in lifecycle.ways(entry)])
    body: JsonObject = {
        "model_id": entry.name,
        "status": "unloaded",
        "memory_freed_mb": round(freed, 1),
        "unloaded_at": timestamp(datetime.now(UTC)),
    }
    return _json(body)


async def _unloaded(lifecycle: LifecycleManager, place: Place) -> float:
    """MB that this gave back: what it took when it came, where others came or went at the same moment."""
    held = place.memory_mb or 0.0
    freed = await lifecycle.unload(place.entry)
    return held if freed is None else freed


def chosen(config: ComputeConfig | None) -> tuple[Compute | None, list[str]]:
    """How to load, None = as it was; and warnings about what was said."""
    if config is None or not config.model_fields_set:
        return None, []
    level, kind = config.optimization_level, config.compute_type
    if level is None or kind is None:
        return Compute(config.device, kind or (OPTIMIZED[level] if level else None)), []
    if OPTIMIZED[level] in (kind, None):
        return Compute(config.device, kind), []
    warning = f"optimization_level `{level}` alone would mean {OPTIMIZED[level]}; compute_type `{kind}` decides."
    return Compute(config.device, kind), [warning]


def _answer(lifecycle: LifecycleManager, entry: ModelEntry, state: State, warnings: list[str]) -> JsonObject:
    place = lifecycle.place(entry)
    loaded = state is State.LOADED
    answer: JsonObject = {
        "model_id": entry.name,
        "status": "loaded" if loaded else "loading",
        "memory_allocated_mb": round(place.memory_mb or 0.0, 1) if loaded else 0.0,
        "warnings": [*warnings, *([] if loaded else _outlook(lifecycle, place))],
    }
    expected = None if loaded else lifecycle.expected_seconds(entry)
    return answer if expected is None else {**answer, "estimated_load_time_ms": round(expected * 1e3)}


def _outlook(lifecycle: LifecycleManager, place: Place) -> list[Json]:
    """What the load waits for."""
    if place.leaving is not None:
        return ["It is loaded anew when its running requests have ended."]
    if place.attempt is not None and place.attempt.started is None:
        places = lifecycle.rules.limits.places
        return [f"It waits for its turn: another model is loading, or {places} models are loaded and in use."]
    return []


def _elsewhere(entry: ModelEntry, wanted: LoadModelRequest) -> JsonObject:
    if wanted.compute_config is not None and wanted.compute_config.model_fields_set:
        message = f"`{entry.name}` is computed by the engine `{entry.engine}` elsewhere; leave `compute_config` out."
        raise ApiError(ErrorCode.UNSUPPORTED, message, param="compute_config")
    warning = f"It runs on the engine `{entry.engine}`, which loads its models by itself."
    return {"model_id": entry.name, "status": "loaded", "memory_allocated_mb": 0.0, "warnings": [warning]}


async def _body(request: web.Request) -> LoadModelRequest:
    """The request's body; none is as good as an empty one. Raises INVALID with the path of what is wrong."""
    data = (await read_json(request))[1] if request.can_read_body else {}
    try:
        return LoadModelRequest.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(map(str, first["loc"]))[:200]
        said = "it is not known here; leave it out" if first["type"] == "extra_forbidden" else first["msg"]
        raise ApiError(ErrorCode.INVALID, f"Invalid `{path}`: {said}.", param=path) from error


def _json(body: JsonObject) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")
