"""Sections 1.1 to 1.5: list, add, get, update, remove."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import orjson
from aiohttp import web

from backends.types import JsonObject
from proxy.contracts.registry.errors import not_found
from proxy.contracts.registry.requests import read_add, read_query, read_update
from proxy.contracts.registry.shapes import model_object, models_data
from proxy.errors import ApiError, ErrorCode
from proxy.http.body import read_json
from proxy.keys import LIFECYCLE, REGISTRY


async def list_models(request: web.Request) -> web.Response:
    """`GET /models`; `?type=` = of this type alone."""
    wanted = read_query(request.query, "type")
    listing = await request.app[REGISTRY].all()
    models = [model_object(model) for model in listing.models if wanted is None or model.model_type == wanted]
    return answer({"models": [*models], "count": len(models)})


async def add_model(request: web.Request) -> web.Response:
    """`POST /models`: it can be used at once, under every contract."""
    _, data = await read_json(request)
    model = read_add(data, datetime.now(UTC))
    if not await request.app[REGISTRY].add(model):
        raise ApiError(ErrorCode.INVALID, f"Model '{model.model_id}' already exists", param="model_id")
    return answer({"model": model_object(model), "message": f"Model '{model.model_id}' added successfully"})


async def get_model(request: web.Request) -> web.Response:
    """`GET /models/{model_id}`."""
    model_id = request.match_info["model_id"]
    model = await request.app[REGISTRY].get(model_id)
    if model is None:
        raise not_found(model_id)
    return answer({"model": model_object(model)})


async def update_model(request: web.Request) -> web.Response:
    """`PUT /models/{model_id}`: fields that are sent replace those that are there."""
    model_id = request.match_info["model_id"]
    _, data = await read_json(request)
    live = request.app[REGISTRY]
    model = await live.get(model_id)
    if model is None or (model := await live.update(model_id, read_update(data, model))) is None:
        raise not_found(model_id)
    return answer({"model": model_object(model), "message": f"Model '{model_id}' updated successfully"})


async def remove_model(request: web.Request) -> web.Response:
    """`DELETE /models/{model_id}`: answers what is left, when it is out of memory. Models of the configuration stay."""
    model_id = request.match_info["model_id"]
    live = request.app[REGISTRY]
    if live.is_configured(model_id):
        message = f"Model '{model_id}' is part of the server's configuration; take it out of the configuration file"
        raise ApiError(ErrorCode.INVALID, message, param="model_id")
    left = await live.remove(model_id)
    if left is None:
        raise not_found(model_id)
    if leaving := request.app[LIFECYCLE].drop(model_id):
        await asyncio.wait(leaving)
    return answer({"message": f"Model '{model_id}' removed successfully", "models_data": models_data(left)})


def answer(body: JsonObject) -> web.Response:
    """A success."""
    return web.Response(body=orjson.dumps({"success": True, **body}), content_type="application/json")
