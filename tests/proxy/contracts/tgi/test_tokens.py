"""How a model reads a text, told in TGI's shape by whatever serves it; and what the door tells of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import backends
from backends.base import EngineSpec, ModelSpec
from proxy.registry.models import ModelEntry, Registry
from tests.engines.tgi_double import TgiDouble
from tests.engines.vllm_double import VllmDouble
from tests.support import ScriptedBackend, one_model, serve_app

NANO = Path(backends.__file__).parent / "nano" / "chat"
TEXT = "The café in Paris 🎉."
HELLO = [{"role": "user", "content": "Hello!"}]


@pytest.fixture
async def nano() -> AsyncIterator[aiohttp.ClientSession]:
    """Before nano-chat in this process."""
    registry = one_model("nano-chat", "text", kind="transformers", source=str(NANO))
    async with serve_app(registry) as url, aiohttp.ClientSession(url) as client:
        yield client


def remote(kind: str, url: str, served_as: str) -> Registry:
    """One model on one engine elsewhere, the default for text."""
    entry = ModelEntry(name="chat", engine=kind, spec=ModelSpec(source=served_as), task="text")
    engine = EngineSpec(name=kind, kind=kind, urls=(url,))
    return Registry(engines={kind: engine}, models=(entry,), defaults={"text": "chat"})


async def post(client: aiohttp.ClientSession, path: str, body: object) -> tuple[int, Any]:
    async with client.post(path, json=body) as response:
        return response.status, await response.json()


async def test_a_model_of_this_process_reads_with_its_own_tokenizer(nano: aiohttp.ClientSession) -> None:
    status, pieces = await post(nano, "/tokenize", {"inputs": TEXT, "parameters": {}})
    assert status == 200
    assert all(piece.keys() == {"id", "text", "start", "stop"} for piece in pieces)
    assert all(piece["text"] == TEXT[piece["start"] : piece["stop"]] for piece in pieces)
    assert {place for piece in pieces for place in range(piece["start"], piece["stop"])} == set(range(len(TEXT)))


async def test_a_conversation_is_read_as_its_template_writes_it(nano: aiohttp.ClientSession) -> None:
    status, read = await post(nano, "/chat_tokenize", {"messages": HELLO, "model": "tgi", "max_tokens": 3})
    assert status == 200
    assert "Hello!" in read["templated_text"]
    assert "".join(piece["text"] for piece in read["tokenize_response"]) == read["templated_text"]


@pytest.mark.parametrize(
    "body", [{}, {"messages": []}, {"messages": "x"}, {"messages": [7]}, {"messages": [{"role": "user"}]}]
)
async def test_conversations_that_are_none_are_refused(nano: aiohttp.ClientSession, body: object) -> None:
    status, error = await post(nano, "/chat_tokenize", body)
    assert (status, error["error_type"]) == (422, "validation")


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"inputs": ""}, 422, "validation"),
        ({"inputs": 7}, 422, "validation"),
        ({"inputs": "x", "made_up": 1}, 422, "validation"),
        ({"inputs": "x", "model": "nobody"}, 404, "model_not_found"),
        ({"inputs": "x" * 1_000_000}, 422, "validation"),
    ],
)
async def test_inputs_that_cannot_be_read(nano: aiohttp.ClientSession, body: object, status: int, kind: str) -> None:
    found, error = await post(nano, "/tokenize", body)
    assert (found, error["error_type"]) == (status, kind)


async def test_truncation_keeps_the_last_tokens(nano: aiohttp.ClientSession) -> None:
    _, pieces = await post(nano, "/tokenize", {"inputs": TEXT})
    body = {"inputs": TEXT, "parameters": {"truncate": 3, "max_new_tokens": 2, "details": True}}
    async with nano.post("/generate", json=body) as response:
        assert response.status == 200
        assert response.headers["x-prompt-tokens"] == "3"
    body["parameters"] = {"truncate": len(pieces) + 1, "max_new_tokens": 2}
    async with nano.post("/generate", json=body) as response:
        assert response.headers["x-prompt-tokens"] == str(len(pieces))


async def test_the_context_is_known_once_the_model_is_loaded(nano: aiohttp.ClientSession) -> None:
    async with nano.get("/info") as response:
        before = await response.json()
    assert (before["model_id"], before["version"], before["max_total_tokens"]) == ("nano-chat", "3.3.6", None)
    await post(nano, "/tokenize", {"inputs": "x"})
    async with nano.get("/info") as response:
        after = await response.json()
    assert after["max_total_tokens"] == after["max_input_tokens"] + 1 > 100
    async with nano.get("/info?model=nobody") as response:
        assert (response.status, (await response.json())["error_type"]) == (404, "model_not_found")


async def test_tgi_itself_is_asked(client_of_tgi: aiohttp.ClientSession) -> None:
    status, pieces = await post(client_of_tgi, "/tokenize", {"inputs": "one two"})
    assert (status, [piece["text"] for piece in pieces]) == (200, ["one", " two"])
    # The double has no /chat_tokenize, as an old TGI has none.
    status, error = await post(client_of_tgi, "/chat_tokenize", {"messages": HELLO})
    assert (status, error["error_type"]) == (404, "not_found")


@pytest.fixture
async def client_of_tgi() -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        TgiDouble() as engine,
        serve_app(remote("tgi", engine.url, "chat")) as url,
        aiohttp.ClientSession(url) as client,
    ):
        yield client


async def test_vllms_own_tokenize_stays_as_it_is() -> None:
    async with (
        VllmDouble() as engine,
        serve_app(remote("vllm", engine.url, engine.model)) as url,
        aiohttp.ClientSession(url) as client,
    ):
        status, answer = await post(client, "/tokenize", {"model": "chat", "prompt": "one two"})
        assert (status, answer["count"]) == (200, len(answer["tokens"]))
        # An engine that tells ids and no spellings cannot say where they lie.
        status, error = await post(client, "/tokenize", {"inputs": "one two"})
        assert (status, error["error_type"]) == (424, "generation")


async def test_an_engine_that_cannot_tell_is_tgis_404() -> None:
    engine = ScriptedBackend(lambda _: ())
    async with (
        serve_app(one_model("chat", "text", kind="transformers"), engine.create) as url,
        aiohttp.ClientSession(url) as client,
    ):
        for path, body in (("/tokenize", {"inputs": "x"}), ("/chat_tokenize", {"messages": HELLO})):
            status, error = await post(client, path, body)
            assert (status, error["error_type"]) == (404, "not_found")
            assert error["error"].startswith("No fast tokenizer available")
