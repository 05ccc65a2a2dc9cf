"""Sections 1.6, 3.1 and 3.2: what is in memory, and how it gets in and out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from aiohttp import web

from backends.types import JsonObject
from proxy.contracts.registry.errors import not_found
from proxy.contracts.registry.finding import need_libraries, usable
from proxy.contracts.registry.models import answer
from proxy.contracts.registry.requests import LoadBody, read_query
from proxy.contracts.registry.shapes import model_info, moment
from proxy.errors import invalid
from proxy.http.body import read_json
from proxy.keys import DISPATCHER, LIFECYCLE, REGISTRY
from proxy.lifecycle.places import Place
from proxy.lifecycle.states import State
from proxy.registry.models import ModelEntry
from proxy.registry.rows import TYPES_OF_TASKS, Model
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
    return answer(cached(_loaded(request), request.app[REGISTRY].seen))


async def clear_cache(request: web.Request) -> web.Response:
    """`DELETE /cache`: answers when running requests have ended and memory is free. `?model_id=` = of this model alone."""
    model_id = read_query(request.query, "model_id")
    if "model_id" in request.query and not model_id:
        raise invalid("model_id", "it is empty; name a model, or leave it out to clear all")
    places = [place for place in _loaded(request) if model_id is None or model_id in _names(place.entry)]
    if model_id and not places and await request.app[REGISTRY].known(model_id) is None:
        raise not_found(model_id)
    lifecycle = request.app[LIFECYCLE]
    await asyncio.gather(*(lifecycle.unload(place.entry) for place in places))
    return answer({"message": f"Cache cleared for model '{model_id}'" if model_id else "All caches cleared"})


def cached(places: Iterable[Place], known: Callable[[str], Model | None]) -> JsonObject:
    """What is in memory, by model, and by each registered name that a configured model serves; `model_task` for each pipeline.

    A model that is there in several ways is there since the first. known: the registered model of an id.
    """
    models: JsonObject = {}
    pipelines: list[str] = []
    loaded: set[str] = set()
    for place in sorted(places, key=lambda place: place.loaded_at):
        entry = place.entry
        loaded.add(entry.name)
        if entry.task == "pipeline":
            pipelines.append(f"{entry.name}_{entry.spec.task}")
        for name in _names(entry):
            model = known(name)
            if name == entry.name or (model is not None and model.model_id == name):
                models.setdefault(name, _cached(place, model))
    return {"cached_models": models, "cached_pipelines": [*sorted(pipelines)], "total_cached": len(loaded)}


def _cached(place: Place, model: Model | None) -> JsonObject:
    """model: as it is registered; None for one that was named without that."""
    task = place.entry.spec.task
    return {
        "loaded_at": None if place.loaded_on is None else moment(place.loaded_on),
        "device": place.device,
        "model_type": model.model_type if model else TYPES_OF_TASKS.get(place.entry.task) or task,
    }


def _names(entry: ModelEntry) -> tuple[str, ...]:
    return (entry.name, *entry.aliases)


def _loaded(request: web.Request) -> list[Place]:
    places = request.app[LIFECYCLE].places()
    return [place for place in places if place.state is State.LOADED and place.here]
