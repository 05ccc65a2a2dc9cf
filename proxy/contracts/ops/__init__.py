"""What operators ask: is it alive, can it serve, what did it do. It also answers for paths that nobody owns."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from proxy.contract import Contract
from proxy.contracts.ops.admin import drain, engines, reload, undrain
from proxy.contracts.ops.docs import SCRIPT, START, STYLE, asset, docs, openapi, start
from proxy.contracts.ops.operations import operations
from proxy.errors import ApiError
from proxy.keys import METRICS, TRAFFIC


async def health(request: web.Request) -> web.Response:
    """`GET /health`: the process is alive; nothing else is asked."""
    return web.json_response({"status": "ok"})


async def root(request: web.Request) -> web.Response:
    """`GET /`: the process is alive, and where to read on."""
    return web.json_response({"status": "ok", "docs": "/docs"})


async def ready(request: web.Request) -> web.Response:
    """`GET /ready`: 200 when new work is welcome, 503 with the reason while loading or draining."""
    reason = request.app[TRAFFIC].reason
    if reason is not None:
        return web.json_response({"status": reason}, status=503, headers={"Retry-After": "1"})
    return web.json_response({"status": "ready"})


async def metrics(request: web.Request) -> web.Response:
    """`GET /metrics`: Prometheus' text format."""
    return web.Response(body=request.app[METRICS].render(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def render_error(error: ApiError) -> bytes:
    """`{"error": message}`."""
    return orjson.dumps({"error": error.message})


def _routes() -> Iterable[web.RouteDef]:
    return (
        web.get("/", root),
        web.get("/health", health),
        web.get("/ready", ready),
        web.get("/metrics", metrics),
        web.get("/openapi.json", openapi),
        web.get("/docs", docs),
        web.get(START, start),
        web.get(SCRIPT, asset),
        web.get(STYLE, asset),
        web.post("/admin/reload", reload),
        web.get("/admin/engines", engines),
        web.post("/admin/engines/{name:.+}/drain", drain),
        web.post("/admin/engines/{name:.+}/undrain", undrain),
    )


CONTRACT = Contract(
    name="ops",
    routes=_routes,
    operations=operations,
    render_error=render_error,
    prefixes=("/",),
    operators=("/admin/",),
    public=frozenset({"/health", "/ready", "/openapi.json", "/docs", START, SCRIPT, STYLE}),
)
