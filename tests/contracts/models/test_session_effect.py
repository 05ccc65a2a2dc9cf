"""Every parameter of a session's configuration reaches the backend with the requests that name the session, and only these."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeAlias, cast

import pytest

from backends.base import EngineSpec
from backends.types import Transcribe, Translate
from proxy.sessions.config import AsrParameters, MtParameters
from tests.contracts.models.session_door import Body, Client, opened, registry, upload
from tests.engines.vllm_double import VllmDouble, form_fields

Ask: TypeAlias = Callable[..., Awaitable[Body]]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with opened() as client:
        yield client


def at(path: str, value: object) -> dict[str, Any]:
    """A configuration that says this alone."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return cast("dict[str, Any]", value)


# --------------------------------------------------------------------------- how a request names its session


async def asr_header(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call("POST", "/asr", status, data=upload(), headers={"X-Session-Id": sid})


async def asr_query(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call("POST", f"/asr?session_id={sid}", status, data=upload())


async def transcriptions_header(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call("POST", "/v1/audio/transcriptions", status, data=upload(), headers={"X-Session-Id": sid})


async def transcriptions_query(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call("POST", f"/v1/audio/transcriptions?session_id={sid}", status, data=upload())


async def transcriptions_form(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call("POST", "/v1/audio/transcriptions", status, data=upload(session_id=sid))


async def translations_form(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call("POST", "/v1/audio/translations", status, data=upload(session_id=sid))


async def infer_header(client: Client, sid: str, status: int = 200) -> Body:
    body = {"task": "translation", "inputs": "hello"}
    return await client.call("POST", "/infer", status, json=body, headers={"X-Session-Id": sid})


async def infer_query(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call(
        "POST", f"/infer?session_id={sid}", status, json={"task": "translation", "inputs": "hello"}
    )


async def infer_body(client: Client, sid: str, status: int = 200) -> Body:
    return await client.call(
        "POST", "/infer", status, json={"task": "translation", "inputs": "hello", "session_id": sid}
    )


SPEECH: list[Ask] = [
    asr_header,
    asr_query,
    transcriptions_header,
    transcriptions_query,
    transcriptions_form,
    translations_form,
]
OPENAI = SPEECH[2:]
TEXT: list[Ask] = [infer_header, infer_query, infer_body]

# Path -> (value, the request's field, its value there).
OF_SPEECH: dict[str, tuple[object, str, object]] = {
    "language": ("de", "language", "de"),
    "parameters.beam_size": (2, "beam_size", 2),
    "parameters.best_of": (3, "best_of", 3),
    "parameters.temperature": (0.5, "temperatures", (0.5, 0.7, 0.9)),
    "parameters.compression_ratio_threshold": (1.5, "compression_ratio_threshold", 1.5),
    "parameters.logprob_threshold": (-0.5, "logprob_threshold", -0.5),
    "parameters.no_speech_threshold": (0.25, "no_speech_threshold", 0.25),
    "parameters.condition_on_previous_text": (True, "condition_on_previous_text", True),
    "parameters.initial_prompt": ("Emma", "prompt", "Emma"),
}
OF_TEXT: dict[str, tuple[object, str, object]] = {
    "source_language": ("en", "source", "en"),
    "target_language": ("fr", "target", "fr"),
    "parameters.beam_size": (2, "beam_size", 2),
    "parameters.length_penalty": (0.5, "length_penalty", 0.5),
    "parameters.no_repeat_ngram_size": (3, "no_repeat_ngram_size", 3),
    "parameters.max_input_length": (10, "max_input_length", 10),
    "parameters.max_new_tokens": (20, "max_new_tokens", 20),
    "parameters.early_stopping": (False, "early_stopping", False),
    "compute_config.batch_size": (4, "batch_size", 4),
}


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


# --------------------------------------------------------------------------- who wins


@pytest.mark.parametrize(
    ("name", "sent", "field", "wanted"),
    [
        ("language", "en", "language", "en"),
        ("beam_size", "7", "beam_size", 7),
        ("best_of", "7", "best_of", 7),
        ("compression_ratio_threshold", "7", "compression_ratio_threshold", 7),
        ("logprob_threshold", "-7", "logprob_threshold", -7),
        ("no_speech_threshold", "0.75", "no_speech_threshold", 0.75),
        ("condition_on_previous_text", "false", "condition_on_previous_text", False),
        ("prompt", "Maria", "prompt", "Maria"),
    ],
)
async def test_what_a_request_says_itself_about_speech_wins(
    client: Client, name: str, sent: str, field: str, wanted: object
) -> None:
    config: Body = {"parameters": {}}
    for path, (value, *_) in OF_SPEECH.items():
        group, _, last = path.rpartition(".")
        (config[group] if group else config)[last] = value
    sid = await client.session(asr=config)
    await client.call("POST", f"/asr?{name}={sent}", data=upload(), headers={"X-Session-Id": sid})
    await client.call("POST", "/v1/audio/transcriptions", data=upload(session_id=sid, **{name: sent}))
    others = {wanted_in: wanted for path, (_, wanted_in, wanted) in OF_SPEECH.items() if wanted_in != field}
    for request in client.spy.requests:
        assert getattr(request, field) == wanted
        assert {other: getattr(request, other) for other in others} == others


async def test_temperatures_and_candidates_of_a_request_win(client: Client) -> None:
    sid = await client.session(asr={"language": "de", "parameters": {"temperature": 0.5}})
    for form in ({"temperature": "0"}, {"temperature": "0.25"}, {"languages": "en"}):
        await client.call("POST", "/v1/audio/transcriptions", data=upload(session_id=sid, **form))
    zero, quarter, candidates = cast("list[Transcribe]", client.spy.requests)
    assert (zero.temperatures, quarter.temperatures) == (None, (0.25,))
    assert (candidates.languages, candidates.language) == (("en",), None)
    client.spy.requests.clear()
    for query in ("temperature=0", "languages=en", "task=transcribe"):
        await client.call("POST", f"/asr?{query}&session_id={sid}", data=upload())
    zero, candidates, _ = cast("list[Transcribe]", client.spy.requests)
    assert (zero.temperatures, candidates.languages, candidates.language) == ((0.0,), ("en",), None)


@pytest.mark.parametrize(
    ("name", "sent", "field"),
    [
        ("src_lang", "es", "source"),
        ("tgt_lang", "es", "target"),
        ("num_beams", 7, "beam_size"),
        ("length_penalty", 7.0, "length_penalty"),
        ("no_repeat_ngram_size", 7, "no_repeat_ngram_size"),
        ("max_new_tokens", 7, "max_new_tokens"),
        ("early_stopping", True, "early_stopping"),
    ],
)
async def test_what_a_request_says_itself_about_translation_wins(
    client: Client, name: str, sent: object, field: str
) -> None:
    config: Body = {"parameters": {}, "compute_config": {}}
    for path, (value, *_) in OF_TEXT.items():
        group, _, last = path.rpartition(".")
        (config[group] if group else config)[last] = value
    sid = await client.session(mt=config)
    body = {"task": "translation", "inputs": "hello", "session_id": sid, "params": {name: sent}}
    await client.call("POST", "/infer", json=body)
    (request,) = client.spy.requests
    others = {wanted_in: wanted for _, wanted_in, wanted in OF_TEXT.values() if wanted_in != field}
    assert getattr(request, field) == sent
    assert {other: getattr(request, other) for other in others} == others


async def test_a_task_that_names_its_languages_wins(client: Client) -> None:
    sid = await client.session(mt={"source_language": "de", "target_language": "es"})
    await client.call("POST", "/infer", json={"task": "translation_en_to_fr", "inputs": "hello", "session_id": sid})
    (request,) = cast("list[Translate]", client.spy.requests)
    assert (request.source, request.target) == ("en", "fr")


async def test_a_model_that_a_request_names_wins(client: Client) -> None:
    sid = await client.session(asr={"model_id": "ears-2"}, mt={"model_id": "words-2"})
    await client.call("POST", f"/asr?model=ears&session_id={sid}", data=upload())
    await client.call("POST", "/v1/audio/transcriptions", data=upload(session_id=sid, model="ears"))
    body = {"task": "translation", "model": "words", "inputs": "hello", "session_id": sid}
    await client.call("POST", "/infer", json=body)
    assert [model.source for model in client.spy.models] == ["org/ears", "org/ears", "org/words"]


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


# --------------------------------------------------------------------------- sessions that are not there


UNKNOWN = "sess_" + "0" * 32


@pytest.mark.parametrize("ask", SPEECH + TEXT)
async def test_an_unknown_session_is_404_in_the_contracts_own_shape(client: Client, ask: Ask) -> None:
    body = await ask(client, UNKNOWN, 404)
    if ask in OPENAI:
        assert (body["error"]["param"], body["error"]["type"]) == ("session_id", "invalid_request_error")
    else:
        assert list(body) == ["detail"]
    assert not client.spy.requests


async def test_a_request_names_one_session(client: Client) -> None:
    one, other = await client.session(), await client.session()
    body = {"task": "translation", "inputs": "hello", "session_id": one}
    error = await client.call("POST", "/infer", 400, json=body, headers={"X-Session-Id": other})
    assert "several sessions" in error["detail"]
    await client.call("POST", f"/infer?session_id={one}", json=body, headers={"X-Session-Id": one})
    await client.call(
        "POST", "/v1/audio/transcriptions?session_id=", data=upload(session_id=""), headers={"X-Session-Id": ""}
    )


async def test_with_keys_a_session_is_its_keys_alone() -> None:
    async with opened(api_keys=("k1", "k2")) as client:
        mine, other = ({"Authorization": f"Bearer {key}"} for key in ("k1", "k2"))
        sid = (await client.call("POST", "/api/sessions", 201, headers=mine))["session_id"]
        body = {"task": "translation", "inputs": "hello", "session_id": sid}
        await client.call("POST", "/infer", headers=mine, json=body)
        await client.call("POST", "/infer", 404, headers=other, json=body)
        await client.call("GET", f"/api/sessions/{sid}", 404, headers=other)
        await client.call("DELETE", f"/api/sessions/{sid}", 404, headers=other)
        assert (await client.call("GET", "/api/sessions", headers=other))["sessions"] == []
        assert len((await client.call("GET", "/api/sessions", headers=mine))["sessions"]) == 1
        await client.call("GET", "/api/sessions", 401)


# --------------------------------------------------------------------------- engines elsewhere


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
