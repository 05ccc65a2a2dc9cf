"""The HF server contract: Hugging Face tasks by name, errors as `{"detail": message}`."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from aiohttp import web

from proxy.contract import Contract
from proxy.contracts.hf_server.asr import asr
from proxy.contracts.hf_server.infer import infer
from proxy.contracts.hf_server.operations import operations
from proxy.errors import ApiError


def render_error(error: ApiError) -> bytes:
    """`{"detail": message}`."""
    return orjson.dumps({"detail": error.message})


def _routes() -> Iterable[web.RouteDef]:
    return (web.post("/infer", infer), web.post("/asr", asr))


CONTRACT = Contract(
    name="hf_server",
    routes=_routes,
    operations=operations,
    render_error=render_error,
    prefixes=("/infer", "/asr"),
)
