"""Every example of contract 2: what it sends is taken, what it shows is what comes, field by field."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import AsyncIterator, Iterable

import aiohttp
import orjson
import pytest

from backends.base import EngineSpec
from backends.types import Complete, Delta, Event, Finish, Infer, Inferred, Request
from proxy.registry.models import Registry
from tests.contracts.registry.printed import Body, Section, commands, errors, sections
from tests.support import ScriptedBackend, serve_app

SECTIONS = sections()
ERRORS = errors()
MODEL = {"model_id": "gpt2", "name": "GPT-2", "model_type": "text-generation"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")
KINDS = ("transformers", "translation", "pipelines", "whisper")


def script(request: Request) -> Iterable[Event]:
    """What the contract's models say."""
    match request:
        case Complete():
            return [Delta(0, SECTIONS["2.1"].answer["response"]), Finish(0, "stop")]
        case Infer():
            return [Inferred(orjson.dumps(SECTIONS["2.2"].answer["results"]))]
    raise AssertionError(request)


@pytest.fixture
async def door() -> AsyncIterator[str]:
    registry = Registry(engines={kind: EngineSpec(name=kind, kind=kind) for kind in KINDS})
    async with serve_app(registry, ScriptedBackend(script).create) as url:
        yield url


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def ask(http: aiohttp.ClientSession, door: str, section: Section, body: Body | None = None) -> Body:
    """Make a section's example call; what must be a success."""
    path = section.path.replace("{model_id}", "gpt2")
    async with http.request(section.method, door + path, json=body or section.body or None) as answer:
        told: Body = await answer.json()
        assert answer.status == 200, told
        return told


def like(shown: object, came: object) -> bool:
    """Whether an answer has the shape of the one that is shown: the same fields, of the same types, times as times."""
    if isinstance(shown, dict) and isinstance(came, dict):
        return shown.keys() == came.keys() and all(like(shown[name], came[name]) for name in shown)
    if isinstance(shown, list) and isinstance(came, list):
        return len(shown) == len(came) and all(map(like, shown, came))
    if isinstance(shown, str) and TIME.fullmatch(shown):
        return isinstance(came, str) and TIME.fullmatch(came) is not None
    return type(shown) is type(came)


def test_the_examples_were_found() -> None:
    numbers = [*(f"1.{n}" for n in range(1, 7)), "2.1", "2.2", *(f"3.{n}" for n in range(1, 6))]
    assert list(SECTIONS) == numbers
    assert [number for number, section in SECTIONS.items() if not section.answer] == ["1.4"]
    assert len(ERRORS) == 3
    assert len(commands()) > 20


async def test_models(http: aiohttp.ClientSession, door: str) -> None:
    def same(number: str, came: Body, *but: str) -> None:
        shown = SECTIONS[number].answer
        assert like(shown, came), came
        assert {name: came[name] for name in shown if name not in but} == {
            name: value for name, value in shown.items() if name not in but
        }

    same("1.2", await ask(http, door, SECTIONS["1.2"]), "model")
    updated = await ask(http, door, SECTIONS["1.4"])
    sent = SECTIONS["1.4"].body
    assert {name: updated["model"][name] for name in sent} == sent
    stored = {"parameters": {"max_new_tokens": 50, "temperature": 0.8}, "description": "OpenAI GPT-2 language model"}
    await ask(http, door, SECTIONS["1.4"], stored)
    listed = await ask(http, door, SECTIONS["1.1"])
    same("1.1", listed, "models")
    assert {**listed["models"][0], "added_date": ""} == {**SECTIONS["1.1"].answer["models"][0], "added_date": ""}
    loaded = await ask(http, door, SECTIONS["1.6"])
    same("1.6", loaded, "device")
    generated = await ask(http, door, SECTIONS["2.1"])
    same("2.1", generated, "parameters")
    assert generated["parameters"] == SECTIONS["2.1"].answer["parameters"]
    same("2.2", await ask(http, door, SECTIONS["2.2"]))
    assert like(SECTIONS["1.3"].answer, await ask(http, door, SECTIONS["1.3"]))
    assert like(
        {**SECTIONS["1.5"].answer, "models_data": {}}, {**await ask(http, door, SECTIONS["1.5"]), "models_data": {}}
    )


async def test_memory_and_facts(http: aiohttp.ClientSession, door: str) -> None:
    await ask(http, door, SECTIONS["1.2"])
    await ask(http, door, SECTIONS["1.2"], {"model_id": "c", "name": "C", "model_type": "conversational"})
    await ask(http, door, SECTIONS["2.2"])
    for number in ("3.1", "3.2", "3.3", "3.5"):
        assert like(SECTIONS[number].answer, await ask(http, door, SECTIONS[number])), number
    types = await ask(http, door, SECTIONS["3.4"])
    assert types == {"success": True, "model_types": ["conversational", "text-generation"]}
    removed = await ask(http, door, SECTIONS["1.5"])
    assert removed["message"] == SECTIONS["1.5"].answer["message"]
    assert removed["models_data"].keys() == SECTIONS["1.5"].answer["models_data"].keys()


async def test_errors(http: aiohttp.ClientSession, door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def told(method: str, path: str, body: Body | None = None) -> tuple[int, Body]:
        async with http.request(method, f"{door}/api/huggingface{path}", json=body) as answer:
            return answer.status, await answer.json()

    came = {
        "Model Not Found (404)": await told("GET", "/models/invalid-model"),
        "Missing Required Field (400)": await told("POST", "/models", {"name": "n", "model_type": "translation"}),
    }
    await told("POST", "/models", MODEL)
    monkeypatch.setattr("proxy.contracts.registry.finding.find_spec", lambda _: None)
    came["Dependencies Not Available (400)"] = await told("POST", "/generate", {"model_id": "gpt2", "prompt": "p"})
    assert came == {title: (int(title[-4:-1]), body) for title, body in ERRORS.items()}


async def test_every_printed_command_succeeds(http: aiohttp.ClientSession, door: str) -> None:
    """In the order of the document, the server's root included."""
    for command in commands():
        words = shlex.split(command)
        url = next(word for word in words if word.startswith("http"))
        method = words[words.index("-X") + 1]
        if (
            (method == "DELETE" and "/models/" not in url)
            or method in ("GET", "PUT")
            or "/load" in url
            or "-d" in words
        ):
            async with http.post(f"{door}/api/huggingface/models", json=MODEL):
                pass
        if method == "POST" and url.endswith("/models"):
            async with http.delete(f"{door}/api/huggingface/models/gpt2"):
                pass
        body = json.loads(words[words.index("-d") + 1]) if "-d" in words else None
        async with http.request(method, url.replace("http://localhost:5000", door), json=body) as answer:
            said = await answer.json()
        # The server's root is no endpoint of the contract, and answers in words of its own.
        assert (answer.status, said.get("success", url.endswith(":5000/"))) == (200, True), command
