"""Section 2.2: run a Hugging Face task on a registered model."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from aiohttp import web

from backends.errors import Invalid
from backends.pipelines.tasks import find
from backends.types import Infer, Json, JsonObject
from proxy.contracts.registry.finding import need_libraries, usable
from proxy.contracts.registry.requests import PipelineCall, read_pipeline
from proxy.contracts.registry.shapes import model_info
from proxy.errors import ApiError, from_backend
from proxy.http.body import read_json
from proxy.http.observe import CALL
from proxy.keys import DISPATCHER, REGISTRY
from proxy.registry.rows import Model
from proxy.tasks.running import Tasks
from proxy.tasks.telling import told_absent, told_inside

WITHIN = "params."
"""What stands before a parameter's name where tasks are told of them; here they are fields of the body itself."""


async def pipeline(request: web.Request) -> web.Response:
    """`POST /pipeline`: every other field is a parameter of the task. `results` is a list, whatever the task returns."""
    _, data = await read_json(request)
    asked = read_pipeline(data)
    model = await usable(request, asked.model_id)
    try:
        results = await _run(request, asked, model)
    except (Invalid, ApiError) as error:
        raise _flat(error) from error
    await request.app[REGISTRY].used(model.model_id)
    request[CALL].first_byte()
    body = {
        "success": True,
        "results": orjson.Fragment(results if results.startswith(b"[") else b"[" + results + b"]"),
        "model_used": asked.model_id,
        "task": asked.task,
        "inputs": asked.inputs,
        "model_info": model_info(model),
    }
    return web.Response(body=orjson.dumps(body), content_type="application/json")


def params_in_force(sent: Mapping[str, Json], model: Model, task: str) -> JsonObject:
    """What is sent; beneath it, for the task that the model is registered for, what is stored with the model."""
    if task != model.model_type:
        return dict(sent)
    # Two ways to say one thing: what the request says replaces what is stored.
    stored = {name: value for name, value in model.parameters.items() if not _length_said(name, sent)}
    return {**stored, **sent}


async def _run(request: web.Request, asked: PipelineCall, model: Model) -> bytes:
    dispatcher, call = request.app[DISPATCHER], request[CALL]
    entry = dispatcher.resolve_pipeline(find(asked.task).name, asked.model_id, call)
    await need_libraries(request, entry)
    params = params_in_force(asked.params, model, asked.task)
    with told_absent(), told_inside():
        return await Tasks(dispatcher, call).run(entry, Infer(task=asked.task, inputs=asked.inputs, params=params))


def _length_said(name: str, sent: Mapping[str, Json]) -> bool:
    return name in ("max_length", "max_new_tokens") and bool({"max_length", "max_new_tokens"} & sent.keys())


def _flat(error: Invalid | ApiError) -> ApiError:
    """The same error, with the name that the field has here."""
    told = from_backend(error) if isinstance(error, Invalid) else error
    if not (told.param or "").startswith(WITHIN):
        return told
    message = told.message.replace(f"`{WITHIN}", "`")
    return ApiError(told.code, message, param=(told.param or "").removeprefix(WITHIN), status=told.status)
