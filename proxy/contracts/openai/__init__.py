"""The OpenAI contract: `/v1/*`, and the paths beside it that vLLM's clients use."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from proxy.contract import Contract
from proxy.contracts.openai.audio import transcriptions, translations
from proxy.contracts.openai.errors import render_error
from proxy.contracts.openai.models import get_model, list_models
from proxy.contracts.openai.operations import operations
from proxy.contracts.openai.text import RESPONSES_MARKS, chat_completions, completions, relay_only, tokenize
from proxy.http.once import once

ENGINE_PATHS = ("/v1/embeddings", "/v1/rerank", "/rerank", "/v1/score", "/score", "/detokenize")


def _routes() -> Iterable[web.RouteDef]:
    return (
        web.get("/v1/models", list_models),
        web.get("/v1/models/{id:.+}", get_model),
        web.post("/v1/chat/completions", once(chat_completions)),
        web.post("/v1/completions", once(completions)),
        web.post("/v1/audio/transcriptions", transcriptions),
        web.post("/v1/audio/translations", translations),
        web.post("/v1/responses", once(relay_only(RESPONSES_MARKS))),
        web.post("/tokenize", tokenize),
        *(web.post(path, once(relay_only())) for path in ENGINE_PATHS),
    )


CONTRACT = Contract(
    name="openai",
    routes=_routes,
    render_error=render_error,
    operations=operations,
    prefixes=("/v1", "/rerank", "/score", "/tokenize", "/detokenize"),
)
