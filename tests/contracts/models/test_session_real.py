"""Sessions with the shipped models: the contract's model selection flow, and parameters that change what is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, FormData

import backends
from proxy.registry.config import load_registry
from proxy.registry.models import Registry
from proxy.settings import Settings
from tests.contracts.models.session_door import CONFIG, Body
from tests.support import serve_app

NANO = Path(backends.__file__).parent / "nano"
SAMPLE = NANO / "samples" / "1_en-us.wav"
SPOKEN = "Maria bought the yellow box at the hotel."
WAIT = 60


@pytest.fixture
def shipped() -> Registry:
    """The shipped models, loaded when they are needed."""
    registry = load_registry(Settings(config=NANO / "switchboard.toml"))
    return replace(registry, models=tuple(replace(model, preload=False) for model in registry.models))


@pytest.fixture
async def http(shipped: Registry) -> AsyncIterator[ClientSession]:
    """A client of the door in front of them."""
    async with serve_app(shipped) as url, ClientSession(url) as client:
        yield client


async def ask(http: ClientSession, method: str, path: str, **body: object) -> Body:
    async with http.request(method, path, **({"json": body} if body else {})) as response:  # type: ignore[arg-type]
        answer = await response.json()
        assert response.status < 300, answer
    assert isinstance(answer, dict)
    return answer


async def status(http: ClientSession, model_id: str) -> Body:
    """The contract's getModelStatus()."""
    found = await ask(http, "GET", "/api/models/status")
    (model,) = [each for each in found["asr_models"] + found["mt_models"] if each["model_id"] == model_id]
    assert isinstance(model, dict)
    return model


async def event(socket: ClientWebSocketResponse, kind: str, model_id: str) -> Body:
    """The contract's waitForWebSocketEvent()."""
    async with asyncio.timeout(WAIT):
        while True:
            told = await socket.receive_json()
            if told["t"] == kind and told["data"]["model_id"] == model_id:
                return dict(told["data"])


async def switch_model(http: ClientSession, sid: str, model_id: str, model_type: str) -> Body:
    """ModelSelector.switchModel() of the contract's Model Selection UI, step by step."""
    async with http.ws_connect(f"/ws/{sid}") as socket:
        await socket.send_json({"v": 1, "t": "session.hello", "sid": sid, "data": {}})
        if (await status(http, model_id))["status"] != "loaded":
            loading = await ask(http, "POST", f"/api/models/{model_id}/load", priority="normal")
            assert loading["status"] == "loading"
            assert (await event(socket, "model.load.completed", model_id))["ready_for_inference"] is True
        assert (await status(http, model_id))["status"] == "loaded"
        return await ask(http, "PUT", CONFIG.format(sid), **{model_type: {"model_id": model_id}})


async def translated(http: ClientSession, sid: str, text: str) -> str:
    answer = await ask(http, "POST", "/infer", task="translation", inputs=text, session_id=sid)
    return str(answer["result"][0]["translation_text"])


async def heard(http: ClientSession, sid: str) -> str:
    form = FormData()
    form.add_field("file", await asyncio.to_thread(SAMPLE.read_bytes), filename="a.wav")
    async with http.post("/v1/audio/transcriptions", data=form, headers={"X-Session-Id": sid}) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return str(answer["text"])


async def test_a_model_is_switched_as_the_contract_does_it(http: ClientSession) -> None:
    sid = (await ask(http, "POST", "/api/sessions"))["session_id"]
    first = await switch_model(http, sid, "nano-whisper", "asr")
    assert (first["config"]["asr"]["model_id"], first["restart_required"]) == ("nano-whisper", False)
    await switch_model(http, sid, "nano-translate", "mt")
    await ask(http, "PUT", CONFIG.format(sid), mt={"source_language": "en", "target_language": "fr"})
    assert await heard(http, sid) == SPOKEN
    assert await translated(http, sid, "My dog sleeps.") == "Mon chien dort."


async def test_translations_change_with_their_session(http: ClientSession) -> None:
    sid = (await ask(http, "POST", "/api/sessions", mt={"source_language": "en", "target_language": "fr"}))[
        "session_id"
    ]
    text = "My dog sleeps."
    assert await translated(http, sid, text) == "Mon chien dort."
    for change, answer in (
        ({"target_language": "de"}, "Mein Hund schläft."),
        ({"parameters": {"max_new_tokens": 2}}, None),
        ({"parameters": {"max_new_tokens": None, "max_input_length": 2}}, None),
        ({"parameters": None, "source_language": "fr", "target_language": "en"}, None),
    ):
        await ask(http, "PUT", CONFIG.format(sid), mt=change)
        said = await translated(http, sid, text)
        assert said == answer if answer else said != "Mein Hund schläft."


async def test_speech_is_computed_as_a_session_wants(http: ClientSession) -> None:
    plain = (await ask(http, "POST", "/api/sessions"))["session_id"]
    assert await heard(http, plain) == SPOKEN
    change = {"compute_config": {"compute_type": "int8", "cpu_threads": 1}}
    answer = await ask(http, "PUT", CONFIG.format(plain), asr=change)
    assert answer["restart_required"] is True
    # Another load of the same model, beside the first: nobody else notices.
    assert await heard(http, plain) == SPOKEN
    other = (await ask(http, "POST", "/api/sessions"))["session_id"]
    back = await ask(http, "PUT", CONFIG.format(plain), asr={"compute_config": None})
    assert back["restart_required"] is False
    assert await heard(http, other) == await heard(http, plain) == SPOKEN


async def test_a_restart_takes_as_long_as_such_loads_did(http: ClientSession) -> None:
    sid = (await ask(http, "POST", "/api/sessions"))["session_id"]
    int8 = {"compute_config": {"compute_type": "int8"}}
    await ask(http, "PUT", CONFIG.format(sid), asr=int8)
    await heard(http, sid)
    await ask(http, "PUT", CONFIG.format(sid), asr={"compute_config": None})
    await heard(http, sid)
    await ask(http, "POST", "/api/models/nano-whisper/unload")
    await ask(http, "PUT", CONFIG.format(sid), asr=int8)
    await heard(http, sid)
    back = await ask(http, "PUT", CONFIG.format(sid), asr={"compute_config": None})
    assert back["restart_required"] is True
    assert 0 < back["estimated_restart_time_ms"] < WAIT * 1000


async def test_a_session_follows_the_way_in_which_an_operator_loads(http: ClientSession) -> None:
    sid = (await ask(http, "POST", "/api/sessions"))["session_id"]
    await ask(http, "POST", "/api/models/nano-whisper/load", compute_config={"compute_type": "int8"})
    assert (await ask(http, "GET", CONFIG.format(sid)))["asr"]["compute_config"]["compute_type"] == "int8"
    assert await heard(http, sid) == SPOKEN
