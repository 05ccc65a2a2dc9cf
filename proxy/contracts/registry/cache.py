"""Sections 1.6, 3.1 and 3.2: what is in memory, and how it gets in and out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import web

from backends.types import JsonObject
from proxy.contracts.registry.errors import not_found
from proxy.contracts.registry.finding import need_libraries, usable
from proxy.contracts.registry.models import answer
from proxy.contracts.registry.requests import LoadBody, read_query
from proxy.contracts.registry.shapes import model_info, moment
from proxy.http.body import read_json
from proxy.keys import DISPATCHER, LIFECYCLE, REGISTRY
from proxy.lifecycle.places import Place
from proxy.lifecycle.states import State
from proxy.registry.rows import TYPES_OF_TASKS
from proxy.tasks.parsing import parse
from proxy.tasks.telling import told_absent

ELSEWHERE = "remote"
"""The device of models that another engine holds."""


async def load_model(request: web.Request) -> web.Response:
    """`POST /models/{model_id}/load`: answers when the model is in memory. force_reload: anew, even if it was."""
    model_id = request.match_info["model_id"]
    sent: JsonObject = (await read_json(request))[1] if request.can_read_body else {}
    body = parse(LoadBody, sent)
    model = await usable(request, model_id)
    entry = request.app[DISPATCHER].router.find(model_id)
    await need_libraries(request, entry)
    lifecycle = request.app[LIFECYCLE]
    with told_absent():
        await (lifecycle.reload(entry) if body.force_reload else lifecycle.ensure_ready(entry))
    return answer(
        {
            "message": f"Model '{model_id}' loaded successfully",
            "model_info": model_info(model),
            "device": lifecycle.place(entry).device or ELSEWHERE,
        }
    )


async def get_cache(request: web.Request) -> web.Response:
    """`GET /cache`: models in this process's memory, and which of them are there as pipelines."""
    return answer(cached(_loaded(request)))


async def clear_cache(request: web.Request) -> web.Response:
    """`DELETE /cache`: answers when running requests have ended and memory is free. `?model_id=` = of this model alone."""
    model_id = read_query(request.query.items(), "model_id")
    places = [place for place in _loaded(request) if model_id in (None, place.entry.name)]
    if model_id and not places and await request.app[REGISTRY].known(model_id) is None:
        raise not_found(model_id)
    lifecycle = request.app[LIFECYCLE]
    await asyncio.gather(*(lifecycle.unload(place.entry) for place in places))
    return answer({"message": f"Cache cleared for model '{model_id}'" if model_id else "All caches cleared"})


def cached(places: Iterable[Place]) -> JsonObject:
    """What is in memory, by model; `model_task` for each pipeline."""
    models: JsonObject = {}
    pipelines: list[str] = []
    for place in places:
        entry = place.entry
        if entry.task == "pipeline":
            pipelines.append(f"{entry.name}_{entry.spec.task}")
        models[entry.name] = {
            "loaded_at": None if place.loaded_on is None else moment(place.loaded_on),
            "device": place.device,
            "model_type": TYPES_OF_TASKS.get(entry.task) or entry.spec.task,
        }
    return {"cached_models": models, "cached_pipelines": [*sorted(pipelines)], "total_cached": len(models)}


def _loaded(request: web.Request) -> list[Place]:
    places = request.app[LIFECYCLE].places()
    return [place for place in places if place.state is State.LOADED and not place.remote]
