"""The model registry: `/api/huggingface/*`, errors as `{"success": false, "error": message}`."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from proxy.contract import Contract
from proxy.contracts.registry.cache import clear_cache, get_cache, load_model
from proxy.contracts.registry.errors import render_error
from proxy.contracts.registry.facts import dependencies, model_types, statistics
from proxy.contracts.registry.generate import generate
from proxy.contracts.registry.models import add_model, get_model, list_models, remove_model, update_model
from proxy.contracts.registry.operations import operations
from proxy.contracts.registry.pipeline import pipeline
from proxy.http.queries import without_query

PREFIX = "/api/huggingface"
# Ids have slashes, written plainly or as %2F.
MODEL = f"{PREFIX}/models/{{model_id:.+}}"


def _routes() -> Iterable[web.RouteDef]:
    return (
        web.get(f"{PREFIX}/models", list_models),
        web.delete(f"{PREFIX}/cache", clear_cache),
        *map(without_query, _plain()),
    )


def _plain() -> Iterable[web.RouteDef]:
    return (
        web.post(f"{PREFIX}/models", add_model),
        web.post(f"{MODEL}/load", load_model),
        web.get(MODEL, get_model),
        web.put(MODEL, update_model),
        web.delete(MODEL, remove_model),
        web.post(f"{PREFIX}/generate", generate),
        web.post(f"{PREFIX}/pipeline", pipeline),
        web.get(f"{PREFIX}/cache", get_cache),
        web.get(f"{PREFIX}/statistics", statistics),
        web.get(f"{PREFIX}/model-types", model_types),
        web.get(f"{PREFIX}/dependencies", dependencies),
    )


CONTRACT = Contract(
    name="registry", routes=_routes, operations=operations, render_error=render_error, prefixes=(PREFIX,)
)
