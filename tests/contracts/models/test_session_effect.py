"""Every parameter of a session's configuration reaches the backend with the requests that name the session, and only these."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import Any, cast

import pytest

from backends.base import EngineSpec
from backends.types import Transcribe, Translate
from proxy.sessions.config import AsrParameters, MtParameters
from tests.contracts.models.session_asks import OF_SPEECH, OF_TEXT, SPEECH, TEXT, Ask, asr_header, infer_body
from tests.contracts.models.session_door import Body, Client, opened, registry, upload
from tests.engines.vllm_double import VllmDouble, form_fields


def at(path: str, value: object) -> dict[str, Any]:
    """A configuration that says this alone."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return cast("dict[str, Any]", value)


def test_no_parameter_is_left_out() -> None:
    assert {path for path in OF_SPEECH if "." in path} == {f"parameters.{name}" for name in AsrParameters.model_fields}
    assert {path for path in OF_TEXT if path.startswith("p")} == {f"parameters.{n}" for n in MtParameters.model_fields}


@pytest.mark.parametrize("path", OF_SPEECH)
async def test_of_speech(client: Client, path: str) -> None:
    value, field, wanted = OF_SPEECH[path]
    sid = await client.session(asr=at(path, value))
    for ask in SPEECH:
        await ask(client, sid)
        (request,) = client.spy.requests
        assert getattr(request, field) == wanted, ask
        client.spy.requests.clear()
    await client.call("POST", "/asr", data=upload())
    assert client.spy.requests == [Transcribe(audio=b"RIFF")]


@pytest.mark.parametrize("path", OF_TEXT)
async def test_of_translation(client: Client, path: str) -> None:
    value, field, wanted = OF_TEXT[path]
    sid = await client.session(mt=at(path, value))
    for ask in TEXT:
        await ask(client, sid)
        (request,) = client.spy.requests
        assert getattr(request, field) == wanted, ask
        client.spy.requests.clear()
    await client.call("POST", "/infer", json={"task": "translation", "inputs": "hello"})
    assert client.spy.requests == [Translate(texts=("hello",))]


async def test_the_task(client: Client) -> None:
    sid = await client.session(asr={"task": "translate"})
    for ask in SPEECH:
        await ask(client, sid)
    # The paths of OpenAI's API say themselves what is to be done.
    assert [cast("Transcribe", request).task for request in client.spy.requests] == [
        "translate", "translate", "transcribe", "transcribe", "transcribe", "translate",
    ]  # fmt: skip


@pytest.mark.parametrize("ask", SPEECH + TEXT)
async def test_the_model(client: Client, ask: Ask) -> None:
    sid = await client.session(asr={"model_id": "ears-2"}, mt={"model_id": "words-2"})
    await ask(client, sid)
    assert [model.source for model in client.spy.models] == ["org/ears-2" if ask in SPEECH else "org/words-2"]


@pytest.mark.parametrize(
    ("compute", "variant"),
    [
        ({"compute_type": "int8"}, "cpu-int8"),
        ({"cpu_threads": 1}, "cpu-float32-1threads"),
        ({"compute_type": "int8", "cpu_threads": 1}, "cpu-int8-1threads"),
        ({"compute_type": "float32", "device": "cpu"}, ""),
    ],
)
@pytest.mark.parametrize("ask", SPEECH)
async def test_where_and_how_speech_is_computed(client: Client, ask: Ask, compute: Body, variant: str) -> None:
    sid = await client.session(asr={"compute_config": compute})
    await ask(client, sid)
    (model,) = client.spy.models
    assert model.variant == variant
    if variant:
        assert (model.compute_type, model.cpu_threads) == (
            compute.get("compute_type", "default"),
            compute.get("cpu_threads"),
        )


@pytest.mark.parametrize("ask", TEXT)
async def test_where_and_how_translations_are_computed(client: Client, ask: Ask) -> None:
    sid = await client.session(mt={"compute_config": {"compute_type": "float32"}})
    await ask(client, sid)
    (model,) = client.spy.models
    assert (model.variant, model.compute_type) == ("cpu-float32", "float32")


async def test_a_configuration_that_is_shown_is_the_one_that_holds(client: Client) -> None:
    config = (await client.call("GET", f"/api/sessions/{await client.session()}"))["config"]
    sid = await client.session()
    await infer_body(client, sid)
    (request,) = client.spy.requests
    shown = config["mt"]["parameters"]
    assert {name: getattr(request, name) for name in shown} == shown


async def test_a_model_of_the_hub_is_translated_with_as_the_session_wants(client: Client) -> None:
    """Without a session it would be a pipeline of transformers', which the session's configuration would not reach."""
    sid = await client.session(mt={"target_language": "fr"})
    body = {"task": "translation", "model": "facebook/m2m100_418M", "inputs": "hello", "session_id": sid}
    await client.call("POST", "/infer", json=body)
    (request,), (model,) = client.spy.requests, client.spy.models
    assert (cast("Translate", request).target, model.source) == ("fr", "facebook/m2m100_418M")


async def test_a_catalogs_model_may_be_chosen(client: Client) -> None:
    sid = await client.session(asr={"model_id": "openai/whisper-small"}, mt={"model_id": "facebook/m2m100_418M"})
    for ask in (*SPEECH, *TEXT):
        await ask(client, sid)
    assert {model.source for model in client.spy.models} == {"openai/whisper-small", "facebook/m2m100_418M"}


async def test_speech_is_a_task_too(client: Client) -> None:
    sid = await client.session(asr={"language": "de", "parameters": {"beam_size": 2}})
    audio = base64.b64encode(b"RIFF").decode()
    body = {"task": "automatic-speech-recognition", "inputs": audio, "session_id": sid}
    await client.call("POST", "/infer", json=body)
    (request,) = cast("list[Transcribe]", client.spy.requests)
    assert (request.language, request.beam_size) == ("de", 2)


async def test_a_change_holds_for_the_next_request_and_a_staged_one_does_not(client: Client) -> None:
    sid = await client.session(mt={"target_language": "fr"})
    await client.configure(sid, {"mt": {"target_language": "de"}, "apply_immediately": False})
    await infer_body(client, sid)
    await client.configure(sid, {"mt": {"parameters": {"beam_size": 2}}})
    await infer_body(client, sid)
    asked = [(request.target, request.beam_size) for request in cast("list[Translate]", client.spy.requests)]
    assert asked == [("fr", 5), ("de", 2)]


async def test_an_engine_elsewhere_is_told_what_it_can_be_told() -> None:
    async with (
        VllmDouble("org/ears-gpu") as engine,
        opened(registry(gpu=EngineSpec(name="gpu", kind="vllm", urls=(engine.url,)))) as client,
    ):
        parameters = {"temperature": 0.5, "initial_prompt": "Emma"}
        sid = await client.session(asr={"model_id": "ears-gpu", "language": "de", "parameters": parameters})
        own = {"language": "en", "prompt": "Maria", "temperature": "0"}
        for fields in ({}, own):
            await client.call("POST", "/v1/audio/transcriptions", data=upload(session_id=sid, **fields))
        told = [form_fields(request.headers["Content-Type"], request.body) for request in engine.requests]
        sent = {"file": b"RIFF", "model": b"org/ears-gpu"}
        assert told[0] == {**sent, "language": b"de", "prompt": b"Emma", "temperature": b"0.5"}
        assert told[1] == {**sent, **{name: text.encode() for name, text in own.items()}}


async def test_what_an_engine_elsewhere_cannot_be_told_is_refused_by_name() -> None:
    nowhere = EngineSpec(name="gpu", kind="vllm", urls=("http://127.0.0.1:9",))
    async with opened(registry(gpu=nowhere)) as client:
        sid = await client.session(asr={"parameters": {"beam_size": 2}})
        error = await client.call(
            "POST", "/v1/audio/transcriptions", 400, data=upload(session_id=sid, model="ears-gpu")
        )
        assert error["error"]["param"] == "asr.parameters.beam_size"
        refused = await client.refused(sid, {"asr": {"model_id": "ears-gpu"}})
        assert (refused["code"], refused["details"]["field"]) == ("CONFIGURATION_ERROR", "asr.parameters.beam_size")


async def test_what_sessions_have_loaded_leaves_by_the_same_rules() -> None:
    """Loads of their own are models to the limit, also where the model that they are of is preloaded and stays."""
    models = registry()
    models = replace(models, models=tuple(replace(model, preload=model.name == "ears") for model in models.models))
    async with opened(models, lx_model_cache_size=1) as client:
        for compute in ({"compute_type": "int8"}, {"cpu_threads": 1}, {"compute_type": "int8", "cpu_threads": 1}):
            await asr_header(client, await client.session(asr={"compute_config": compute}))
        await client.call("POST", "/asr", data=upload())
        async with asyncio.timeout(10):
            while len(client.spy.loaded) > 2:  # noqa: ASYNC110 - what leaves, which no request waits for
                await asyncio.sleep(0.01)
        assert {model.variant for model in client.spy.loaded} == {"", "cpu-int8-1threads"}
