"""Replies of a real TGI, kept by its own tests: from what an engine tells of the same answers, this door says the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from jsonschema import Draft4Validator

from backends.types import Delta, Event, Finish, Request, TokenLogprob, Usage
from tests.support import ScriptedBackend, one_model, serve_app

RECORDED = Path(__file__).parent / "recorded"


def events_of(reply: dict[str, Any], stop: str | None) -> Iterator[Event]:
    """What an engine tells of this answer: the stop sequence is no part of its text."""
    details = reply["details"]
    tokens = details["tokens"]
    for number, token in enumerate(tokens):
        text = token["text"]
        if stop and number == len(tokens) - 1:
            text = text.removesuffix(stop)
        yield Delta(0, text, logprobs=(TokenLogprob(token["text"], token["logprob"], (), token["id"]),))
    yield Finish(0, "length" if details["finish_reason"] == "length" else "stop", stop)
    yield Usage(3, details["generated_tokens"])


def said(reply: dict[str, Any]) -> dict[str, Any]:
    """The reply without what TGI leaves out where there is none, and its recorder writes as null."""
    details = {key: value for key, value in reply["details"].items() if key == "seed" or value is not None}
    return {**reply, "details": details}


@pytest.mark.parametrize("name", ["simple", "all_params"])
async def test_whole(name: str) -> None:
    reply = json.loads((RECORDED / f"{name}.json").read_text())
    sent: dict[str, object] = {"max_new_tokens": 10, "details": True}
    stop = None
    if name == "all_params":
        stop = "test"
        sent |= {"return_full_text": True, "stop": [stop], "temperature": 0.5, "top_p": 0.9, "top_k": 10, "seed": 0}
    async with _door(lambda _: events_of(reply, stop)) as url, aiohttp.ClientSession(url) as client:
        async with client.post("/generate", json={"inputs": "Test request", "parameters": sent}) as response:
            assert response.status == 200
            assert await response.json() == said(reply)
            assert response.headers["x-generated-tokens"] == str(len(reply["details"]["tokens"]))
            assert response.headers["x-prompt-tokens"] == "3"
        async with client.post("/", json={"inputs": "Test request", "parameters": sent}) as response:
            assert await response.json() == [said(reply)]


async def test_stream() -> None:
    reply = json.loads((RECORDED / "simple.json").read_text())
    async with _door(lambda _: events_of(reply, None)) as url, aiohttp.ClientSession(url) as client:
        body = {"inputs": "Test request", "parameters": {"max_new_tokens": 10, "details": True}}
        async with client.post("/generate_stream", json=body) as response:
            assert response.content_type == "text/event-stream"
            frames = (await response.text()).split("\n\n")
    assert frames.pop() == ""
    events = [json.loads(frame.removeprefix("data: ")) for frame in frames]
    assert [event["token"] for event in events] == reply["details"]["tokens"]
    assert [event["index"] for event in events] == [*range(1, 11)]
    assert {(event["generated_text"], event["details"]) for event in events[:-1]} == {(None, None)}
    assert events[-1]["generated_text"] == reply["generated_text"]
    assert events[-1]["details"] == {"finish_reason": "length", "generated_tokens": 10, "seed": None, "input_length": 3}


async def test_answers_have_the_shapes_of_tgis_own_document() -> None:
    schemas = json.loads((RECORDED / "schemas.json").read_text())
    reply = json.loads((RECORDED / "simple.json").read_text())
    async with _door(lambda _: events_of(reply, None)) as url, aiohttp.ClientSession(url) as client:
        body = {"inputs": "x", "parameters": {"details": True, "top_n_tokens": 1}}
        async with client.post("/generate", json=body) as response:
            _check(schemas, "GenerateResponse", await response.json())
        async with client.post("/generate_stream", json=body) as response:
            for frame in (await response.text()).split("\n\n")[:-1]:
                event = json.loads(frame.removeprefix("data: "))
                _check(schemas, "StreamResponse", event)
        async with client.post("/generate", json={"inputs": ""}) as response:
            _check(schemas, "ErrorResponse", await response.json())


def _check(schemas: dict[str, Any], name: str, value: object) -> None:
    Draft4Validator({"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}).validate(_bare(value))


def _bare(value: Any) -> Any:
    """Without nulls: the document says `nullable`, which is a word of OpenAPI 3.0 and none of JSON Schema."""
    if isinstance(value, dict):
        return {key: _bare(member) for key, member in value.items() if member is not None}
    return [_bare(item) for item in value] if isinstance(value, list) else value


def _door(script: Callable[[Request], Iterable[Event]]) -> AbstractAsyncContextManager[str]:
    def play(request: Request) -> Iterable[Event | Exception]:
        return [*script(request)]

    return serve_app(one_model("chat", "text", kind="transformers"), ScriptedBackend(play).create)
