"""The least proxy that aiohttp can be: what its streams cost without any feature. usage: bare_aiohttp PORT ENGINE_PORT"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

SESSION = web.AppKey("session", ClientSession)


def build(engine: str) -> web.Application:
    """The application in front of the engine at this URL."""

    async def session(app: web.Application) -> AsyncIterator[None]:
        connector = TCPConnector(limit=0)
        async with ClientSession(engine, connector=connector, timeout=ClientTimeout(), auto_decompress=False) as client:
            app[SESSION] = client
            yield

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    async def forward(request: web.Request) -> web.StreamResponse:
        body, headers = await request.read(), {"Content-Type": "application/json"}
        async with request.app[SESSION].post(request.path, data=body, headers=headers) as answer:
            kind = {"Content-Type": answer.headers["Content-Type"]}
            if answer.content_length is not None:
                return web.Response(status=answer.status, headers=kind, body=await answer.read())
            response = web.StreamResponse(status=answer.status, headers=kind)
            response.enable_chunked_encoding()
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response

    app = web.Application()
    app.cleanup_ctx.append(session)
    app.add_routes([web.get("/health", health), web.post("/{path:.*}", forward)])
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(
        build(f"http://127.0.0.1:{sys.argv[2]}"), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None
    )
