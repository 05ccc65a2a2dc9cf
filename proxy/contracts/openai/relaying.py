"""Pass a request on to an engine of the same dialect, and its answer back, as bytes."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from backends.base import Relay, RelayRequest
from proxy.contracts.openai.errors import backend_error_frame
from proxy.http.forward import forwarded_headers
from proxy.http.observe import CALL
from proxy.http.splice import ClientSink, SplicedResponse
from proxy.keys import DISPATCHER

DONE_MARK = (b"data: [DONE]", b"data:[DONE]")


async def pass_on(
    request: web.Request,
    relay: Relay,
    body: bytes,
    *,
    stream: bool,
    terminal: tuple[bytes, ...],
    told: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """The engine's answer to `body`. terminal: what a complete stream ends with; told: headers of our own beside the engine's."""
    call = request[CALL]
    sink = ClientSink(request, call.request_id, told or {})
    passed = RelayRequest(
        method="POST",
        path=request.path,
        body=body,
        headers=forwarded_headers(request, call.request_id),
        stream=stream,
        # Only streams are held to it, and an engine may take `stream: 1` for one, too.
        terminal=terminal,
        error_event=backend_error_frame,
    )
    await request.app[DISPATCHER].relay(relay, passed, sink, call)
    return SplicedResponse(sink)
