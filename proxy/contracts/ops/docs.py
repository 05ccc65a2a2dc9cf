"""The OpenAPI document and a page to read and try it: `GET /openapi.json`, `GET /docs`. Nothing is fetched from elsewhere."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

from proxy.contracts.ops.openapi import document
from proxy.keys import DIALECTS

STYLE, SCRIPT, START = "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/start.js"
PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Switchboard</title><link rel="stylesheet" href="{STYLE}"></head>
<body><div id="swagger-ui"></div><script src="{SCRIPT}"></script><script src="{START}"></script></body>
</html>
"""
STARTING = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true});\n'
# The page runs what this door serves and nothing else, and no other site may put it into a frame.
POLICY = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
A_DAY = {"Cache-Control": "public, max-age=86400"}
TYPES = {STYLE: "text/css; charset=utf-8", SCRIPT: "text/javascript; charset=utf-8"}


async def openapi(request: web.Request) -> web.Response:
    """`GET /openapi.json`: what every path takes and answers."""
    body = await asyncio.to_thread(document, request.app[DIALECTS])
    return web.Response(body=body, content_type="application/json")


async def docs(_: web.Request) -> web.Response:
    """`GET /docs`: Swagger UI on that document."""
    return web.Response(text=PAGE, content_type="text/html", headers=POLICY)


async def start(_: web.Request) -> web.Response:
    """`GET /docs/start.js`: what the page begins with."""
    return web.Response(text=STARTING, content_type="text/javascript", headers=POLICY)


async def asset(request: web.Request) -> web.StreamResponse:
    """`GET /docs/swagger-ui.css`, `GET /docs/swagger-ui-bundle.js`: Swagger UI as its package ships it."""
    directory = await asyncio.to_thread(_shipped)
    headers = {**POLICY, **A_DAY, "Content-Type": TYPES[request.path]}
    return web.FileResponse(directory / request.path.rpartition("/")[2], headers=headers)


def _shipped() -> Path:
    """Where the package has its files; it is found, not imported: it would import a template engine."""
    spec = find_spec("swagger_ui_bundle")
    if spec is None or not spec.submodule_search_locations:
        raise web.HTTPNotFound
    (directory,) = Path(spec.submodule_search_locations[0]).glob("vendor/swagger-ui-*")
    return directory
