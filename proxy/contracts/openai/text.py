"""Chat, completions and their neighbours: passed on as bytes where the engine speaks OpenAI's dialect, else translated."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import orjson
from aiohttp import web

from backends.base import Relay, RelayRequest
from backends.types import Event, JsonObject
from proxy.contracts.openai.answers import TextAnswer
from proxy.contracts.openai.errors import backend_error_frame, error_frame
from proxy.contracts.openai.requests import ChatBody, CompletionBody, parse
from proxy.contracts.openai.rewrite import rename_model
from proxy.errors import ApiError, ErrorCode
from proxy.http.body import read_json
from proxy.http.forward import forwarded_headers
from proxy.http.observe import CALL
from proxy.http.splice import ClientSink, SplicedResponse
from proxy.http.stream import stream_sse
from proxy.keys import DISPATCHER
from proxy.registry.models import ModelEntry

DONE_MARK = (b"data: [DONE]", b"data:[DONE]")
RESPONSES_MARKS = (b"response.completed", b"response.failed", b"response.incomplete", b'"type":"error"')


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/chat/completions`."""
    body, data = await read_json(request)
    entry = _resolve(request, data)
    _require(data, "messages", list)
    relay = request.app[DISPATCHER].relay_for(entry, "POST", request.path)
    if relay is not None:
        return await _pass_on(request, entry, relay, body, data, DONE_MARK)
    chat = parse(ChatBody, data)
    events = request.app[DISPATCHER].run(entry, chat.request(data), request[CALL])
    return await _answer(request, TextAnswer("chat", entry.name), events, chat)


async def completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/completions`."""
    body, data = await read_json(request)
    entry = _resolve(request, data)
    _require(data, "prompt", (str, list))
    relay = request.app[DISPATCHER].relay_for(entry, "POST", request.path)
    if relay is not None:
        return await _pass_on(request, entry, relay, body, data, DONE_MARK)
    completion = parse(CompletionBody, data)
    events = request.app[DISPATCHER].run(entry, completion.request(), request[CALL])
    return await _answer(request, TextAnswer("completion", entry.name), events, completion)


def relay_only(terminal: tuple[bytes, ...] = ()) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler for paths that only engines serve. terminal: what a complete stream of that path ends with."""

    async def handler(request: web.Request) -> web.StreamResponse:
        body, data = await read_json(request)
        entry = _resolve(request, data)
        relay = request.app[DISPATCHER].relay_for(entry, "POST", request.path)
        if relay is None:
            message = f"The engine behind `{entry.name}` has no {request.path}."
            raise ApiError(ErrorCode.NOT_FOUND, message, param="model")
        return await _pass_on(request, entry, relay, body, data, terminal)

    return handler


def _resolve(request: web.Request, data: JsonObject) -> ModelEntry:
    name = data.get("model")
    if name is not None and not isinstance(name, str):
        raise ApiError(ErrorCode.INVALID, "`model` must be a string.", param="model")
    return request.app[DISPATCHER].resolve(name, "text", request[CALL])


def _require(data: JsonObject, field: str, kinds: type | tuple[type, ...]) -> None:
    value = data.get(field)
    if value is None:
        raise ApiError(ErrorCode.INVALID, f"Missing required parameter: `{field}`.", param=field)
    if not isinstance(value, kinds) or not value:
        raise ApiError(ErrorCode.INVALID, f"Invalid `{field}`: it is empty or of the wrong type.", param=field)


async def _pass_on(
    request: web.Request, entry: ModelEntry, relay: Relay, body: bytes, data: JsonObject, terminal: tuple[bytes, ...]
) -> web.StreamResponse:
    call = request[CALL]
    stream = data.get("stream") is True
    if data.get("model") != entry.spec.source and "model" in data:
        body = rename_model(body, entry.spec.source)
    sink = ClientSink(request, call.request_id)
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


async def _answer(
    request: web.Request, answer: TextAnswer, events: AsyncGenerator[Event, None], asked: ChatBody | CompletionBody
) -> web.StreamResponse:
    if asked.stream:
        return await stream_sse(request, answer.frames(events, include_usage=asked.include_usage), error_frame)
    async with aclosing(events):
        body = await answer.collect(events)
    request[CALL].first_byte()
    return web.Response(body=orjson.dumps(body), content_type="application/json")
