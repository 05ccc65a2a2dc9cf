"""Ask a model: `POST /api/ai/huggingface/{publisher}/{name}/chat`. The answer's text streams as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import orjson
from aiohttp import web

from backends.errors import BackendError, Broken
from backends.types import Delta, Finish
from proxy.contracts.chat.errors import INVALID_MODEL, RETIRED, callers_own, failed, shape
from proxy.contracts.chat.requests import ChatRequest, check_chat_id, read_query, read_request, read_user, wants_events
from proxy.errors import ApiError, ErrorCode
from proxy.http.body import read_json
from proxy.http.observe import CALL
from proxy.http.stream import stream_sse
from proxy.keys import CHATS, DISPATCHER, REGISTRY
from proxy.registry.models import ModelEntry, Registry

CONTENT_TYPE = "text/event-stream"
"""As the contract writes it, without a charset."""
LOCAL = "local"
"""The publisher of models whose names have none."""


async def chat(request: web.Request) -> web.StreamResponse:
    """The answer's text itself; or, for those whose `Accept` names them, server-sent events around it.

    Errors in the middle: an event where there are events, else a connection cut off. They never look like the end.
    """
    owner = await read_user(request)
    chat_id = check_chat_id(read_query(request, "chat_id").get("chat_id"))
    _, data = await read_json(request)
    asked = read_request(data)
    registry = request.app[DISPATCHER].router.registry
    name = model_name(request.match_info["publisher"], request.match_info["name"], registry)
    turn = _Turn(owner, chat_id, name, _model(request, name))
    pieces = _answer(request, turn, asked)
    try:
        if wants_events(request.headers.get("Accept")):
            return await stream_sse(request, _events(pieces), _error_event, content_type=CONTENT_TYPE)
        return await stream_sse(request, _bytes(pieces), None, content_type=CONTENT_TYPE)
    except BackendError as error:
        raise failed(error) from error


def text_event(text: str) -> bytes:
    """A piece of text as an event: a line of it is a line of data. Carriage returns are left out: events cannot carry them.

    >>> text_event("one\\ntwo")
    b'data: one\\ndata: two\\n\\n'
    """
    return b"data: " + text.replace("\r", "").replace("\n", "\ndata: ").encode() + b"\n\n"


def model_name(publisher: str, name: str, registry: Registry) -> str:
    """The model that a path names: `publisher/name`, or `name` alone, of the publisher `local`, where only that exists."""
    full = f"{publisher}/{name}"
    if publisher != LOCAL:
        return full
    known = registry.names().keys() | registry.retired
    return name if name in known and full not in known else full


@dataclass(frozen=True, slots=True)
class _Turn:
    """Who asks, in which chat, and whom: what the model was called, and what that means."""

    owner: str
    chat_id: str
    name: str
    model: ModelEntry


def _model(request: web.Request, name: str) -> ModelEntry:
    """The model to ask. Raises INVALID in the contract's words, or UNAVAILABLE."""
    dispatcher = request.app[DISPATCHER]
    if name in dispatcher.router.registry.retired:
        raise ApiError(ErrorCode.INVALID, RETIRED, param="model")
    try:
        return dispatcher.resolve(name, "text", request[CALL])
    except ApiError as error:
        if error.param != "model":
            raise
        raise ApiError(ErrorCode.INVALID, INVALID_MODEL, param="model") from None


async def _answer(request: web.Request, turn: _Turn, asked: ChatRequest) -> AsyncGenerator[str, None]:
    """The answer's text, piece by piece, kept on its way, and counted as a use of the model at its end.

    What is refused before its first word was never asked. Raises Broken when the engine stops without an end.
    """
    async with (
        request.app[CHATS].turn(turn.owner, turn.chat_id, asked.question, turn.model.name) as answer,
        aclosing(request.app[DISPATCHER].run(turn.model, asked.chat(), request[CALL])) as events,
    ):
        ended = False
        try:
            async for event in events:
                if isinstance(event, Delta) and event.text:
                    answer.add(event.text)
                    yield event.text
                elif isinstance(event, Finish):
                    ended = True
        except BackendError as error:
            if callers_own(error) and not answer.text:
                answer.withdraw()
            raise
        if not ended:
            raise Broken(f"The engine behind `{turn.model.name}` stopped before its answer's end.")
        answer.end()
    live = request.app[REGISTRY]
    if (model := live.seen(turn.name)) is not None:
        await live.used(model.model_id)


async def _bytes(pieces: AsyncGenerator[str, None]) -> AsyncGenerator[bytes, None]:
    """The text itself. Each piece holds whole characters, for clients who decode piece by piece."""
    async with aclosing(pieces):
        async for text in pieces:
            yield text.encode()


async def _events(pieces: AsyncGenerator[str, None]) -> AsyncGenerator[bytes, None]:
    """Events without a name for the text, and one named `done` for its end."""
    async with aclosing(pieces):
        async for text in pieces:
            yield text_event(text)
    yield b"event: done\ndata: [DONE]\n\n"


def _error_event(error: ApiError) -> bytes:
    return b"event: error\ndata: " + orjson.dumps(shape(error)) + b"\n\n"
