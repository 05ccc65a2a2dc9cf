"""Outermost: every request gets a record, an id, a log line and its place in the metrics."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Middleware

from proxy.http.dialect import DialectOf, Handler
from proxy.http.request_id import HEADER, request_id
from proxy.observability.call import CLIENT_GONE, Call
from proxy.observability.logging import AccessLog
from proxy.observability.metrics import Metrics

SERVER = "switchboard"
"""Without this, aiohttp tells its version and Python's."""

SESSION = "X-Session-ID"
"""vLLM's name for it: requests that say the same go to the same replica, as far as that is good for them."""

CALL = web.RequestKey("call", Call)


def observe(dialect_of: DialectOf, metrics: Metrics, log: AccessLog) -> Middleware:
    """The middleware that opens a Call for each request and records it when its answer is complete."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = Call(request_id(request.headers.get(HEADER)), request.method, request.path)
        call.contract = dialect_of(request.path).name
        call.session = request.headers.get(SESSION)
        request[CALL] = call
        try:
            response = await handler(request)
        except (asyncio.CancelledError, ConnectionError):
            call.status = CLIENT_GONE
            raise
        else:
            call.status = call.status or response.status
            if not response.prepared:
                response.headers[HEADER] = call.request_id
                response.headers["Server"] = SERVER
                response.headers.update(call.told)
            return response
        finally:
            call.settle()
            metrics.record(call)
            log.write(call)

    return middleware
