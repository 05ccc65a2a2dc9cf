"""Chat, completions and their neighbours: passed on as bytes where the engine speaks OpenAI's dialect, else translated."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing

import orjson
from aiohttp import web

from backends.types import Event, JsonObject
from proxy.contracts.openai.answers import TextAnswer
from proxy.contracts.openai.errors import error_frame
from proxy.contracts.openai.relaying import DONE_MARK, pass_on
from proxy.contracts.openai.requests import ChatBody, CompletionBody, parse
from proxy.contracts.openai.rewrite import rename_model
from proxy.contracts.openai.speech_in_chat import has_speech, is_short_form, transcribed, unfolded
from proxy.contracts.openai.tiers import take_tier
from proxy.errors import ApiError, ErrorCode
from proxy.http.body import read_json
from proxy.http.observe import CALL
from proxy.http.stream import stream_sse
from proxy.http.waiting import comment
from proxy.keys import DISPATCHER, TOKENIZE_INPUTS
from proxy.registry.models import ModelEntry
from proxy.routing.fallbacks import Elsewhere

RESPONSES_MARKS = (b"response.completed", b"response.failed", b"response.incomplete", b'"type":"error"')


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/chat/completions`. Speech in messages becomes text for models that only read."""
    dispatcher = request.app[DISPATCHER]
    body, sent = await read_json(request)
    short = is_short_form(sent)
    data = await unfolded(sent, dispatcher.router.registry) if short else sent
    entry = _resolve(request, data)
    _require(data, "messages", list)
    told: Mapping[str, str] | None = None
    if not entry.audio and has_speech(data["messages"]):
        data, told = await transcribed(request, entry, data, named="audio" if short else None)
    if dispatcher.relays(entry, "POST", request.path):
        # Only what was changed on the way is encoded anew.
        body = body if data is sent else orjson.dumps(data)
        try:
            return await _pass_on(request, entry, body, data, DONE_MARK, told)
        except Elsewhere as elsewhere:
            entry = elsewhere.entry
    chat = parse(ChatBody, data)
    events = dispatcher.run(entry, chat.request(data), request[CALL])
    return await _answer(request, entry, TextAnswer("chat", entry.name), events, chat, told)


async def completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/completions`."""
    body, data = await read_json(request)
    entry = _resolve(request, data)
    _require(data, "prompt", (str, list))
    if request.app[DISPATCHER].relays(entry, "POST", request.path):
        try:
            return await _pass_on(request, entry, body, data, DONE_MARK)
        except Elsewhere as elsewhere:
            entry = elsewhere.entry
    completion = parse(CompletionBody, data)
    events = request.app[DISPATCHER].run(entry, completion.request(), request[CALL])
    return await _answer(request, entry, TextAnswer("completion", entry.name), events, completion)


def relay_only(terminal: tuple[bytes, ...] = ()) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler for paths that only engines serve. terminal: what a complete stream of that path ends with."""

    async def handler(request: web.Request) -> web.StreamResponse:
        body, data = await read_json(request)
        return await _relay(request, body, data, terminal)

    return handler


async def tokenize(request: web.Request) -> web.StreamResponse:
    """`POST /tokenize`, vLLM's; the same path of TGI has `inputs`, where vLLM has `prompt` or `messages`."""
    body, data = await read_json(request)
    if "inputs" in data and not data.keys() & {"prompt", "messages"}:
        return await request.app[TOKENIZE_INPUTS](request, data)
    return await _relay(request, body, data, ())


async def _relay(
    request: web.Request, body: bytes, data: JsonObject, terminal: tuple[bytes, ...]
) -> web.StreamResponse:
    entry = _resolve(request, data)
    if not request.app[DISPATCHER].relays(entry, "POST", request.path, everywhere=False):
        message = f"The engine behind `{entry.name}` has no {request.path}."
        raise ApiError(ErrorCode.NOT_FOUND, message, param="model")
    return await _pass_on(request, entry, body, data, terminal)


def _resolve(request: web.Request, data: JsonObject) -> ModelEntry:
    name = data.get("model")
    if name is not None and not isinstance(name, str):
        raise ApiError(ErrorCode.INVALID, "`model` must be a string.", param="model")
    if "service_tier" in data:
        take_tier(request, data)
    call = request[CALL]
    if call.session is None:
        call.session = _session(data)
    return request.app[DISPATCHER].resolve(name, "text", call)


def _session(data: JsonObject) -> str | None:
    """What the caller says that belongs together: OpenAI's field for it, or vLLM's."""
    key = data.get("prompt_cache_key") or data.get("session_id")
    return key if isinstance(key, str) else None


def _require(data: JsonObject, field: str, kinds: type | tuple[type, ...]) -> None:
    value = data.get(field)
    if value is None:
        raise ApiError(ErrorCode.INVALID, f"Missing required parameter: `{field}`.", param=field)
    if not isinstance(value, kinds) or not value:
        raise ApiError(ErrorCode.INVALID, f"Invalid `{field}`: it is empty or of the wrong type.", param=field)


async def _pass_on(
    request: web.Request,
    entry: ModelEntry,
    body: bytes,
    data: JsonObject,
    terminal: tuple[bytes, ...],
    told: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    def named(name: str) -> bytes:
        return rename_model(body, name) if "model" in data and data["model"] != name else body

    choices = _choices(data) if terminal is DONE_MARK else 0
    stream = data.get("stream") is True
    return await pass_on(
        request, entry, named, stream=stream, terminal=terminal, choices=choices, prompt=data, told=told
    )


def _choices(data: JsonObject) -> int:
    """How many choices a chat or completion asks for; 0 where that cannot be told."""
    each, prompts = data.get("n"), data.get("prompt")
    number = len(prompts) if isinstance(prompts, list) and not isinstance(prompts[0], int) else 1
    return number * (1 if each is None else each if isinstance(each, int) else 0)


async def _answer(
    request: web.Request,
    entry: ModelEntry,
    answer: TextAnswer,
    events: AsyncGenerator[Event, None],
    asked: ChatBody | CompletionBody,
    told: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    if asked.stream:
        dispatcher = request.app[DISPATCHER]
        request[CALL].patient = dispatcher.cold(entry)
        frames = answer.frames(events, include_usage=asked.include_usage)

        def waiting() -> bytes | None:
            return comment(dispatcher.percent(entry)) if dispatcher.cold(entry) else None

        return await stream_sse(request, frames, error_frame, told=told, waiting=waiting)
    async with aclosing(events):
        body = await answer.collect(events)
    request[CALL].first_byte()
    return web.Response(body=orjson.dumps(body), content_type="application/json", headers=told)
