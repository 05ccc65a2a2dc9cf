"""TGI's own API: its clients move to any engine behind this door and notice nothing. Errors as `{"error", "error_type"}`."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from proxy.contract import Contract
from proxy.contracts.tgi.errors import render_error
from proxy.contracts.tgi.generate import compatible, generate, generate_stream
from proxy.contracts.tgi.info import info
from proxy.contracts.tgi.operations import operations
from proxy.contracts.tgi.tokens import chat_tokenize, tokenize

__all__ = ["CONTRACT", "tokenize"]


def _routes() -> Iterable[web.RouteDef]:
    return (
        web.post("/", compatible),
        web.post("/generate", generate),
        web.post("/generate_stream", generate_stream),
        web.post("/chat_tokenize", chat_tokenize),
        web.get("/info", info),
    )


CONTRACT = Contract(
    name="tgi",
    routes=_routes,
    operations=operations,
    render_error=render_error,
    prefixes=("/generate", "/generate_stream", "/chat_tokenize", "/info"),
    paths=frozenset({"/"}),
)
