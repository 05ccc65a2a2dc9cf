"""Section 2.1: generate, its defaults, and what engines are told."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from backends.errors import Invalid, Overloaded, Unsupported
from backends.types import Chat, Complete, Delta, Event, Finish, Request, Sampling
from tests.proxy.contracts.registry.conftest import Body, Client, script
from tests.support import ScriptedBackend

DEFAULTS = {
    "max_new_tokens": 100,
    "temperature": 0.7,
    "do_sample": True,
    "top_p": 0.9,
    "top_k": 50,
    "repetition_penalty": 1.1,
}
ASK = {"model_id": "m", "prompt": "The future is"}


async def test_the_contracts_defaults_hold(ask: Client, backend: ScriptedBackend) -> None:
    await ask.add("m", name="M")
    status, body = await ask("POST", "/generate", ASK)
    assert status == 200
    assert body == {
        "success": True,
        "response": "bright and full",
        "model_used": "m",
        "prompt": "The future is",
        "parameters": DEFAULTS,
        "model_info": {"model_id": "m", "name": "M", "model_type": "text-generation"},
    }
    sampling = Sampling(max_tokens=100, temperature=0.7, top_p=0.9, top_k=50, repetition_penalty=1.1)
    assert backend.requests == [Complete(prompts=("The future is",), sampling=sampling)]


async def test_stored_parameters_come_between(ask: Client, backend: ScriptedBackend) -> None:
    await ask.add("m", parameters={"max_new_tokens": 5, "temperature": 0.3})
    _, body = await ask("POST", "/generate", {**ASK, "temperature": 0.9})
    assert body["parameters"] == {**DEFAULTS, "max_new_tokens": 5, "temperature": 0.9}
    asked = backend.requests[0]
    assert isinstance(asked, Complete)
    assert (asked.sampling.max_tokens, asked.sampling.temperature) == (5, 0.9)


async def test_without_sampling_the_likeliest_token_is_taken(ask: Client, backend: ScriptedBackend) -> None:
    await ask.add("m")
    await ask("POST", "/generate", {**ASK, "do_sample": False, "max_new_tokens": 20})
    await ask("POST", "/generate", {**ASK, "temperature": 0, "max_new_tokens": 20})
    greedy = Sampling(max_tokens=20, temperature=0.0, repetition_penalty=1.1)
    assert [request.sampling for request in backend.requests if isinstance(request, Complete)] == [greedy, greedy]


async def test_models_for_dialogue_are_told_a_message(ask: Client, backend: ScriptedBackend) -> None:
    await ask.add("m", "conversational")
    await ask("POST", "/generate", ASK)
    asked = backend.requests[0]
    assert isinstance(asked, Chat)
    assert asked.messages == ({"role": "user", "content": "The future is"},)


async def test_uses_are_counted(ask: Client) -> None:
    await ask.add("m")
    for _ in range(3):
        await ask("POST", "/generate", ASK)
    await ask("POST", "/generate", {**ASK, "model_id": "house/chat"})
    _, body = await ask("GET", "/models/m")
    assert body["model"]["usage_count"] == 3
    assert body["model"]["last_used"] > body["model"]["added_date"]
    _, body = await ask("GET", "/models/house/chat")
    assert body["model"]["usage_count"] == 1


async def test_a_row_of_a_configured_alias_is_served_by_that_model(ask: Client) -> None:
    status, body = await ask("POST", "/generate", {**ASK, "model_id": "gpt2"})
    assert (status, body["model_used"]) == (200, "gpt2")
    await ask.add("gpt2", name="GPT-2")
    _, body = await ask("POST", "/generate", {**ASK, "model_id": "gpt2"})
    assert (body["response"], body["model_info"]["name"]) == ("bright and full", "GPT-2")
    for model_id in ("gpt2", "house/chat"):
        assert (await ask("GET", f"/models/{model_id}"))[1]["model"]["usage_count"] == 1


async def test_it_streams_events_if_asked(ask: Client) -> None:
    await ask.add("m")
    async with ask.http.post(f"{ask.url}/api/huggingface/generate", json={**ASK, "stream": True}) as answer:
        assert answer.content_type == "text/event-stream"
        events = [line.removeprefix("data: ") for line in (await answer.text()).split("\n\n") if line]
    assert events.pop() == "[DONE]"
    *pieces, whole = map(json.loads, events)
    assert pieces == [{"text": "bright and "}, {"text": "full"}]
    assert whole == (await ask("POST", "/generate", ASK))[1]


async def test_a_failure_in_a_stream_is_an_event_of_it(ask: Client, backend: ScriptedBackend) -> None:
    backend.script = lambda _: [Delta(0, "bright"), Overloaded("The engine is full.")]
    await ask.add("m")
    async with ask.http.post(f"{ask.url}/api/huggingface/generate", json={**ASK, "stream": True}) as answer:
        events = [line.removeprefix("data: ") for line in (await answer.text()).split("\n\n") if line]
    assert json.loads(events[-1]) == {"success": False, "error": "The engine is full."}
    assert (await ask("GET", "/models/m"))[1]["model"]["usage_count"] == 0


async def test_an_answer_without_an_end_is_no_answer(ask: Client, backend: ScriptedBackend) -> None:
    backend.script = lambda _: [Delta(0, "bright")]
    await ask.add("m")
    status, body = await ask("POST", "/generate", ASK)
    assert (status, body["success"]) == (502, False)


async def test_an_engine_that_cannot_do_a_default_does_without(ask: Client, backend: ScriptedBackend) -> None:
    def picky(request: Request) -> Iterable[Event | Exception]:
        assert isinstance(request, Complete)
        if request.sampling.top_k is not None:
            return [Unsupported("There is no top_k here.", param="top_k")]
        return script(request)

    backend.script = picky
    await ask.add("m")
    status, body = await ask("POST", "/generate", ASK)
    assert status == 200
    assert body["parameters"] == {name: value for name, value in DEFAULTS.items() if name != "top_k"}
    status, body = await ask("POST", "/generate", {**ASK, "top_k": 5})
    assert (status, body["error"]) == (400, "There is no top_k here.")
    await ask("PUT", "/models/m", {"parameters": {"top_k": 5}})
    assert (await ask("POST", "/generate", ASK))[0] == 400


async def test_a_default_that_has_no_room_still_holds(ask: Client, backend: ScriptedBackend) -> None:
    def small(request: Request) -> Iterable[Event | Exception]:
        assert isinstance(request, Complete)
        if request.sampling.max_tokens is not None:
            return [Invalid("max_tokens is 100; ask for at most 9.", param="max_tokens")]
        return script(request)

    backend.script = small
    await ask.add("m")
    status, body = await ask("POST", "/generate", ASK)
    assert (status, body["parameters"]) == (200, DEFAULTS)


@pytest.mark.parametrize("kind", ["text2text-generation", "summarization"])
async def test_models_that_read_and_then_write_generate_too(ask: Client, backend: ScriptedBackend, kind: str) -> None:
    await ask.add("m", kind, parameters={"max_new_tokens": 30})
    status, body = await ask("POST", "/generate", ASK)
    assert (status, body["response"], body["model_info"]["model_type"]) == (200, "bright and full", kind)
    (asked,) = backend.requests
    assert isinstance(asked, Complete)
    assert asked.sampling.max_tokens == 30


async def test_engines_words_become_the_contracts(ask: Client, backend: ScriptedBackend) -> None:
    backend.script = lambda _: [Invalid("max_tokens is 500; ask for at most 9.", param="max_tokens")]
    await ask.add("m")
    status, body = await ask("POST", "/generate", {**ASK, "max_new_tokens": 500})
    assert (status, body["error"]) == (400, "max_new_tokens is 500; ask for at most 9.")


@pytest.mark.parametrize(
    "wrong",
    [
        {"model_id": 5},
        {"prompt": ["p"]},
        {"prompt": 5},
        {"stream": "yes"},
        {"max_new_tokens": 0},
        {"max_new_tokens": 1.5},
        {"max_new_tokens": 10**30},
        {"temperature": "hot"},
        {"temperature": -0.1},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"do_sample": "false"},
        {"repetition_penalty": 0},
        {"num_beams": 4},
    ],
    ids=repr,
)
async def test_nonsense_is_refused_by_name(ask: Client, backend: ScriptedBackend, wrong: Body) -> None:
    await ask.add("m")
    status, body = await ask("POST", "/generate", {**ASK, **wrong})
    assert (status, body["success"]) == (400, False)
    assert next(iter(wrong)) in body["error"]
    assert backend.requests == []


async def test_what_is_missing_and_who_is_unknown(ask: Client) -> None:
    for field in ("model_id", "prompt"):
        sent = {name: value for name, value in ASK.items() if name != field}
        assert await ask("POST", "/generate", sent) == (
            400,
            {"success": False, "error": f"Missing required field: {field}"},
        )
    assert await ask("POST", "/generate", ASK) == (404, {"success": False, "error": "Model 'm' not found"})


@pytest.mark.parametrize("kind", ["translation", "question-answering", "fill-mask"])
async def test_a_model_of_another_kind_is_refused(ask: Client, kind: str) -> None:
    await ask.add("m", kind)
    for number in range(9):
        await ask.add(f"n{number}")
    status, body = await ask("POST", "/generate", ASK)
    assert status == 400
    assert body["error"].startswith(f"The model `m` does {kind}, not text. Available: `house/chat`, `n0`,")
    assert body["error"].endswith(" and 5 more.")


async def test_missing_libraries_are_told_as_the_contract_shows(ask: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.contracts.registry.finding.find_spec", lambda _: None)
    await ask.add("m")
    told = "Transformers library not available. Please install: pip install transformers torch"
    assert await ask("POST", "/generate", ASK) == (400, {"success": False, "error": told})
    assert (await ask("POST", "/models/m/load"))[1]["error"] == told
    _, body = await ask("GET", "/dependencies")
    assert (body["dependencies"]["transformers"], body["dependencies"]["torch"]) == (False, False)


async def test_one_who_finishes_is_told_so(ask: Client, backend: ScriptedBackend) -> None:
    backend.script = lambda _: [Finish(0, "length")]
    await ask.add("m")
    assert (await ask("POST", "/generate", ASK))[1]["response"] == ""
