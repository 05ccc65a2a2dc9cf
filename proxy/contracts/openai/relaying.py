"""Pass a request on to an engine of the same dialect, and its answer back, as bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from backends.base import RelayRequest
from backends.types import JsonObject
from proxy.contracts.openai.errors import backend_error_frame
from proxy.http.forward import forwarded_headers
from proxy.http.observe import CALL
from proxy.http.splice import ClientSink, SplicedResponse
from proxy.keys import DISPATCHER
from proxy.registry.models import ModelEntry, Target

DONE_MARK = (b"data: [DONE]", b"data:[DONE]")


async def pass_on(
    request: web.Request,
    entry: ModelEntry,
    named: Callable[[str], bytes],
    *,
    stream: bool,
    terminal: tuple[bytes, ...],
    choices: int = 0,
    prompt: JsonObject | None = None,
    told: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """The engine's answer. named: the body, with a model's name as its engine says it; terminal: what a complete stream ends
    with; choices: how many were asked for, each of which says why it ends; prompt: the body, parsed, where it has one; told:
    headers of our own beside the engine's.
    """
    call = request[CALL]
    sink = ClientSink(request, call.request_id, told or {})
    headers = forwarded_headers(request, call.request_id)

    def ask(target: Target) -> RelayRequest:
        return RelayRequest(
            method="POST",
            path=request.path,
            body=named(target.spec.source),
            headers=headers,
            stream=stream,
            # Only streams are held to it, and an engine may take `stream: 1` for one, too.
            terminal=terminal,
            choices=choices,
            error_event=backend_error_frame,
        )

    await request.app[DISPATCHER].relay(entry, ask, sink, call, prompt)
    return SplicedResponse(sink)
