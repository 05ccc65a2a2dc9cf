"""`POST /tokenize` and `/chat_tokenize`: how the model reads a text. TGI answers 404 where it cannot tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from backends.errors import Unsupported
from backends.types import Chat, Complete, Json, JsonObject, Tokenized
from proxy.contracts.tgi.errors import error_response, in_tgi_words
from proxy.contracts.tgi.naming import model_of
from proxy.contracts.tgi.requests import ChatTokenizeBody, GenerateBody, check, parse
from proxy.errors import ApiError, ErrorCode
from proxy.http.body import read_json
from proxy.http.observe import CALL
from proxy.keys import DISPATCHER


async def tokenize(request: web.Request, data: JsonObject) -> web.StreamResponse:
    """TGI's `POST /tokenize`, once its body is read: that path is also vLLM's, whose bodies have no `inputs`."""
    try:
        with _cannot_tell(), in_tgi_words():
            body = parse(GenerateBody, data)
            check(body, stream=False)
            entry = model_of(request, body.parameters.adapter_id or body.model)
            prompt = Complete(prompts=(body.inputs,))
            read = await request.app[DISPATCHER].tokenize(entry, prompt, request[CALL])
    except ApiError as error:
        request[CALL].error = error.message
        return error_response(error)
    return web.json_response(_pieces(read))


async def chat_tokenize(request: web.Request) -> web.StreamResponse:
    """`POST /chat_tokenize`: the conversation as the chat template writes it, and its tokens."""
    _, data = await read_json(request)
    with _cannot_tell(), in_tgi_words():
        body = parse(ChatTokenizeBody, data)
        # TGI's clients say `tgi`, huggingface_hub's `dummy`: the name of whatever there is.
        entry = model_of(request, None if body.model in ("tgi", "dummy") else body.model)
        chat = Chat(messages=tuple(body.messages), tools=tuple(body.tools or ()), tool_choice="none")
        read = await request.app[DISPATCHER].tokenize(entry, chat, request[CALL])
    return web.json_response({"tokenize_response": _pieces(read), "templated_text": read.text})


@contextmanager
def _cannot_tell() -> Iterator[None]:
    """An engine that has no tokenizer to show is TGI's 404."""
    try:
        yield
    except ApiError as error:
        cause = error.__cause__
        if isinstance(cause, Unsupported):
            message = f"No fast tokenizer available: {cause.message}"
            raise ApiError(ErrorCode.NOT_FOUND, message, param=error.param) from cause
        raise


def _pieces(read: Tokenized) -> list[Json]:
    return [{"id": piece.id, "text": piece.text, "start": piece.start, "stop": piece.stop} for piece in read.pieces]
