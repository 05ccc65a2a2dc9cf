"""Run a task on inputs: `POST /infer`."""

from __future__ import annotations

from contextlib import aclosing

import orjson
from aiohttp import web

from backends.errors import Invalid
from backends.types import Translate, Translated
from proxy.contracts.hf_server.requests import PARAMS, InferBody, parse, translation
from proxy.errors import ApiError, ErrorCode
from proxy.http.body import read_json
from proxy.http.observe import CALL
from proxy.http.sessions import SESSIONS, preferences
from proxy.keys import DISPATCHER
from proxy.registry.models import ModelEntry


async def infer(request: web.Request) -> web.Response:
    """`POST /infer`: `{"result": [{"translation_text": ...}, ...]}`, one for each input."""
    _, data = await read_json(request)
    body = parse(InferBody, data)
    wishes = await preferences(request, body.session_id)
    asked = translation(body, wishes.translate)
    entry = request.app[DISPATCHER].resolve(
        body.model or wishes.models.get("translation"), "translation", request[CALL]
    )
    texts = await _translated(request, await request.app[SESSIONS].placed(entry, wishes), asked)
    request[CALL].first_byte()
    result = [{"translation_text": text} for text in texts]
    return web.Response(body=orjson.dumps({"result": result}), content_type="application/json")


async def _translated(request: web.Request, entry: ModelEntry, asked: Translate) -> list[str]:
    """The translations, in the order of the texts."""
    texts: dict[int, str] = {}
    try:
        async with aclosing(request.app[DISPATCHER].run(entry, asked, request[CALL])) as events:
            async for event in events:
                if isinstance(event, Translated):
                    texts[event.index] = event.text
    except Invalid as error:
        if error.param not in PARAMS:
            raise
        name = f"params.{PARAMS[error.param]}"
        raise ApiError(ErrorCode.INVALID, f"Invalid `{name}`: {error.message}", param=name) from error
    return [texts[index] for index in range(len(asked.texts))]
