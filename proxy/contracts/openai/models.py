"""Which models there are."""

from __future__ import annotations

import orjson
from aiohttp import web

from proxy.keys import DISPATCHER, STARTED
from proxy.registry.models import ModelEntry
from proxy.routing.router import WILDCARD


async def list_models(request: web.Request) -> web.Response:
    """`GET /v1/models`: every model, and every alias as a model whose `root` is the real one."""
    created = request.app[STARTED]
    data = [
        _model(name, entry, created)
        for entry in request.app[DISPATCHER].router.registry.models
        for name in (entry.name, *entry.aliases)
        if name != WILDCARD
    ]
    return web.Response(body=orjson.dumps({"object": "list", "data": data}), content_type="application/json")


async def get_model(request: web.Request) -> web.Response:
    """`GET /v1/models/{id}`: ids may contain slashes, written plainly or as %2F."""
    name = request.match_info["id"]
    entry = request.app[DISPATCHER].router.find(name)
    return web.Response(body=orjson.dumps(_model(name, entry, request.app[STARTED])), content_type="application/json")


def _model(name: str, entry: ModelEntry, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created, "owned_by": entry.engine, "root": entry.name}
