"""`POST /`, `/generate` and `/generate_stream`."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from aiohttp import web

from backends.errors import BackendError
from backends.types import Complete, Event, Json
from proxy.contracts.tgi import answers
from proxy.contracts.tgi.errors import as_tgi, error_frame, in_tgi_words
from proxy.contracts.tgi.naming import model_of
from proxy.contracts.tgi.requests import Asked, GenerateBody, check, parse
from proxy.errors import ApiError
from proxy.http.body import read_json
from proxy.http.observe import CALL
from proxy.http.stream import stream_sse
from proxy.keys import DISPATCHER
from proxy.registry.models import ModelEntry


async def generate(request: web.Request) -> web.StreamResponse:
    """`POST /generate`: the whole answer, an object."""
    entry, body = await _read(request)
    return await _whole(request, entry, body, listed=False)


async def generate_stream(request: web.Request) -> web.StreamResponse:
    """`POST /generate_stream`: an event for each token."""
    entry, body = await _read(request)
    return await _streamed(request, entry, body)


async def compatible(request: web.Request) -> web.StreamResponse:
    """`POST /`: as `/generate_stream` with `stream: true`; else as `/generate`, in a list of one."""
    entry, body = await _read(request)
    if body.stream:
        return await _streamed(request, entry, body)
    return await _whole(request, entry, body, listed=True)


async def _read(request: web.Request) -> tuple[ModelEntry, GenerateBody]:
    _, data = await read_json(request)
    with in_tgi_words():
        body = parse(GenerateBody, data)
        return model_of(request, body.parameters.adapter_id or body.model), body


async def _whole(request: web.Request, entry: ModelEntry, body: GenerateBody, *, listed: bool) -> web.Response:
    started = time.monotonic()
    with in_tgi_words():
        asked = check(body, stream=False)
        async with aclosing(_events(request, entry, asked)) as events:
            answer = await answers.collect(asked, events)
    request[CALL].first_byte()
    told: Json = [answer.body] if listed else answer.body
    headers = {
        "x-compute-characters": str(answer.characters),
        "x-total-time": str(round((time.monotonic() - started) * 1e3)),
        "x-prompt-tokens": str(answer.usage.prompt_tokens),
        "x-generated-tokens": str(answer.usage.completion_tokens),
    }
    return web.Response(body=orjson.dumps(told), content_type="application/json", headers=headers)


async def _streamed(request: web.Request, entry: ModelEntry, body: GenerateBody) -> web.StreamResponse:
    return await stream_sse(request, _frames(request, entry, body), lambda error: error_frame(as_tgi(error)))


async def _frames(request: web.Request, entry: ModelEntry, body: GenerateBody) -> AsyncGenerator[bytes, None]:
    """The events; what goes wrong is one of them, be it the first: a stream of TGI's is always a 200."""
    try:
        asked = check(body, stream=True)
        async with (
            aclosing(_events(request, entry, asked)) as events,
            aclosing(answers.frames(asked, events)) as frames,
        ):
            async for frame in frames:
                yield frame
    except (ApiError, BackendError) as error:
        told = as_tgi(error)
        request[CALL].error = told.message
        yield error_frame(told)


async def _events(request: web.Request, entry: ModelEntry, asked: Asked) -> AsyncGenerator[Event, None]:
    dispatcher, call = request.app[DISPATCHER], request[CALL]
    prompt: str | tuple[int, ...] = asked.inputs
    if asked.parameters.truncate is not None:
        read = await dispatcher.tokenize(entry, Complete(prompts=(asked.inputs,)), call)
        if len(read.pieces) > asked.parameters.truncate:
            prompt = tuple(piece.id for piece in read.pieces[-asked.parameters.truncate :])
    async with aclosing(dispatcher.run(entry, asked.request(prompt), call)) as events:
        async for event in events:
            yield event
