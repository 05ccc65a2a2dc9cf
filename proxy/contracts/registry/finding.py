"""The model that a request names, and what serves it."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec

from aiohttp import web

from proxy.contracts.registry.errors import no_libraries, not_found
from proxy.errors import ApiError, ErrorCode
from proxy.keys import DISPATCHER, REGISTRY
from proxy.registry.models import ModelEntry
from proxy.registry.rows import WILDCARD, Model

LIBRARIES = ("transformers", "torch")


async def usable(request: web.Request, model_id: str) -> Model:
    """The registered model of this id, or the configured one of this alias. Raises MODEL_NOT_FOUND, INVALID when retired."""
    model = await request.app[REGISTRY].known(model_id)
    if model is None or model_id == WILDCARD:
        raise not_found(model_id)
    if model.status == "retired":
        raise ApiError(ErrorCode.INVALID, f"Model '{model_id}' is retired", param="model_id")
    return model


async def need_libraries(request: web.Request, entry: ModelEntry) -> None:
    """Refuse a model of this process where its libraries are missing. Raises INVALID."""
    if request.app[DISPATCHER].router.registry.in_process(entry) and not all((await libraries()).values()):
        raise no_libraries()


async def libraries() -> dict[str, bool]:
    """Which libraries for models of this process are installed; nothing is imported to learn that."""
    return await asyncio.to_thread(lambda: {name: find_spec(name) is not None for name in LIBRARIES})
