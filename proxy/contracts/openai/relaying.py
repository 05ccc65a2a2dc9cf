"""Pass a request on to an engine of the same dialect, and its answer back, as bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from aiohttp import web

from backends.base import RelayRequest, Sink
from backends.types import JsonObject
from proxy.contracts.openai.errors import backend_error_frame, error_frame
from proxy.errors import ApiError, ErrorCode
from proxy.http.forward import forwarded_headers
from proxy.http.observe import CALL
from proxy.http.once import HEADER, Collected
from proxy.http.splice import ClientSink, SplicedResponse
from proxy.http.stream import failure_of
from proxy.http.waiting import WaitingSink
from proxy.keys import DISPATCHER
from proxy.observability.call import Call
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
    call.told.update(told or {})
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

    dispatcher = request.app[DISPATCHER]
    if HEADER in request.headers and not stream:
        collected = Collected(request)
        await dispatcher.relay(entry, ask, collected, call, prompt)
        return collected.response()
    sink = ClientSink(request, call.request_id, call.told)
    if stream and dispatcher.cold(entry):
        relaying = partial(dispatcher.relay, entry, ask, call=call, prompt=prompt)
        await _when_loaded(relaying, sink, call, lambda: dispatcher.percent(entry))
    else:
        await dispatcher.relay(entry, ask, sink, call, prompt)
    return SplicedResponse(sink)


async def _when_loaded(
    relaying: Callable[[Sink], Awaitable[None]], sink: ClientSink, call: Call, percent: Callable[[], int | None]
) -> None:
    """Relay a stream whose client is told meanwhile how far the start of the engine is."""
    call.patient = True
    with WaitingSink(sink, percent) as waiting:
        try:
            await relaying(waiting)
        except ConnectionError:
            raise
        except Exception as error:
            if waiting.answered or not waiting.begun:
                raise
            failure = failure_of(error, call.request_id)
            call.error = failure.message
            waiting.end(error_frame(failure))
        except asyncio.CancelledError:
            if waiting.begun and not waiting.answered and not sink.gone:
                waiting.end(error_frame(ApiError(ErrorCode.UNAVAILABLE, "The server is shutting down; ask again.")))
            raise
