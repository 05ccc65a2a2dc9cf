"""Sections 3.3 to 3.5: statistics, model types, dependencies."""

from __future__ import annotations

import asyncio
from collections import Counter

from aiohttp import web

from backends.inprocess.cuda import device_count
from backends.types import JsonObject
from proxy.contracts.registry.finding import libraries
from proxy.contracts.registry.models import answer
from proxy.contracts.registry.shapes import moment
from proxy.keys import REGISTRY
from proxy.registry.live import Listing


async def statistics(request: web.Request) -> web.Response:
    """`GET /statistics`."""
    return answer({"statistics": figures(await request.app[REGISTRY].all())})


async def model_types(request: web.Request) -> web.Response:
    """`GET /model-types`: each type of which there is a model, in alphabetical order."""
    listing = await request.app[REGISTRY].all()
    return answer({"model_types": [*sorted({model.model_type for model in listing.models})]})


async def dependencies(request: web.Request) -> web.Response:
    """`GET /dependencies`: what models of this process need."""
    there: JsonObject = {**await libraries()}
    return answer({"dependencies": {**there, "cuda_available": await asyncio.to_thread(device_count) > 0}})


def figures(listing: Listing) -> JsonObject:
    """Counts over all models. most_used: null where none was used."""
    models = listing.models
    most = max(models, key=lambda model: model.usage_count, default=None)
    return {
        "total_models": len(models),
        "total_usage": sum(model.usage_count for model in models),
        "model_types": {**Counter(model.model_type for model in models)},
        "last_updated": moment(listing.changed),
        "most_used": {"model_id": most.model_id, "name": most.name, "usage_count": most.usage_count}
        if most is not None and most.usage_count
        else None,
    }
