"""`GET /info`: what TGI tells of itself and its one model; here, of the model that a request gets without naming one."""

from __future__ import annotations

from contextlib import suppress

from aiohttp import web

from backends.errors import BackendError
from backends.types import Complete, JsonObject
from proxy.contracts.tgi.errors import in_tgi_words
from proxy.contracts.tgi.naming import model_of
from proxy.contracts.tgi.requests import MOST_BEST_OF, MOST_STOPS
from proxy.http.observe import CALL
from proxy.keys import DISPATCHER, LIFECYCLE, SETTINGS
from proxy.registry.models import ModelEntry

SPOKEN = "3.3.6"
"""The version of TGI whose dialect this is."""


async def info(request: web.Request) -> web.Response:
    """TGI's Info; `null` where it is not known: the context of a model that has not been loaded, or whose engine does not tell."""
    with in_tgi_words():
        entry = model_of(request, request.query.get("model"))
    return web.json_response(described(entry, await _context(request, entry), request.app[SETTINGS].max_connections))


def described(entry: ModelEntry, context: int | None, connections: int) -> JsonObject:
    """The object. context: tokens that the model can attend to; connections: most at once."""
    return {
        "model_id": entry.name,
        "model_sha": entry.spec.revision,
        "model_pipeline_tag": "text-generation",
        "max_concurrent_requests": connections,
        "max_best_of": MOST_BEST_OF,
        "max_stop_sequences": MOST_STOPS,
        "max_input_tokens": None if context is None else context - 1,
        "max_total_tokens": context,
        "validation_workers": 1,
        "max_client_batch_size": 1,
        "router": "switchboard",
        "version": SPOKEN,
        "sha": None,
        "docker_label": None,
    }


async def _context(request: web.Request, entry: ModelEntry) -> int | None:
    """Asked of engines that are there; no model is loaded for it."""
    dispatcher = request.app[DISPATCHER]
    if dispatcher.router.registry.in_process(entry) and not request.app[LIFECYCLE].is_ready(entry):
        return None
    with suppress(BackendError):
        return (await dispatcher.tokenize(entry, Complete(prompts=("1",)), request[CALL])).context
    return None
