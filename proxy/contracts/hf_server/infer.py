"""Run a task on inputs: `POST /infer`."""

from __future__ import annotations

from contextlib import nullcontext

from aiohttp import web

from backends.pipelines.tasks import find
from backends.types import Infer
from proxy.contracts.hf_server.requests import InferBody, from_form
from proxy.http.body import read_json
from proxy.http.multipart import read_form
from proxy.http.observe import CALL
from proxy.http.queries import refuse_others
from proxy.http.sessions import FIELD, SESSIONS, preferences
from proxy.keys import DISPATCHER, SETTINGS
from proxy.routing.router import OWN_ENGINES
from proxy.tasks.parsing import parse
from proxy.tasks.running import Tasks
from proxy.tasks.telling import told_absent, told_inside


async def infer(request: web.Request) -> web.Response:
    """`POST /infer`: `{"result": ...}`, what transformers' pipeline returns. Files come in JSON as base64, or in a form."""
    refuse_others(request.query, (FIELD,))
    body, files = await _read(request)
    task = find(body.task)
    wishes = await preferences(request, body.session_id)
    dispatcher, call = request.app[DISPATCHER], request[CALL]
    made_for = OWN_ENGINES.get(task.name)
    if wishes.session is not None and made_for is not None:
        # On the engine made for the task, whatever the model: what the session wants holds there, and not in a pipeline.
        entry = dispatcher.resolve_any(body.model or wishes.model(made_for), made_for, call)
    else:
        entry = dispatcher.resolve_pipeline(task.name, body.model, call)
    entry = await request.app[SESSIONS].placed(entry, wishes)
    tasks = Tasks(dispatcher, call, transcribe=wishes.transcribe, translate=wishes.translate)
    asked = Infer(task=body.task, inputs=body.inputs, params=body.params or {}, files=files)
    with told_absent(), nullcontext() if files else told_inside():
        result = await tasks.run(entry, asked)
    call.first_byte()
    return web.Response(body=b'{"result":' + result + b"}", content_type="application/json")


async def _read(request: web.Request) -> tuple[InferBody, dict[str, tuple[bytes, ...]]]:
    """The body, and the files that came with it."""
    if request.content_type != "multipart/form-data":
        _, data = await read_json(request)
        return parse(InferBody, data), {}
    return from_form(await read_form(request, int(request.app[SETTINGS].max_audio_mb * 1e6)))
