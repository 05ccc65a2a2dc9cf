"""What engines of each kind are asked, so that a client of TGI gets what TGI would say."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
import text_generation

import backends
from backends.base import EngineSpec, ModelSpec
from proxy.registry.models import ModelEntry, Registry
from tests.engines.tgi_double import TgiDouble
from tests.engines.vllm_double import VllmDouble
from tests.support import one_model, serve_app

NANO = Path(backends.__file__).parent / "nano" / "chat"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
ASK = {"inputs": "one two", "parameters": {"grammar": {"type": "json", "value": SCHEMA}, "details": True}}


def remote(kind: str, url: str, served_as: str) -> Registry:
    """One model on one engine elsewhere, the default for text."""
    entry = ModelEntry(name="chat", engine=kind, spec=ModelSpec(source=served_as), task="text")
    engine = EngineSpec(name=kind, kind=kind, urls=(url,))
    return Registry(engines={kind: engine}, models=(entry,), defaults={"text": "chat"})


async def test_vllm_is_asked_for_ids_for_all_its_context_and_for_the_grammar() -> None:
    async with (
        VllmDouble() as engine,
        serve_app(remote("vllm", engine.url, engine.model)) as url,
        aiohttp.ClientSession(url) as client,
        client.post("/generate", json=ASK) as response,
    ):
        assert response.status == 200
        asked = engine.requests[-1].json
    assert asked["return_token_ids"] is True
    assert asked["structured_outputs"] == {"json": SCHEMA}
    # Left out, it would be 16.
    assert asked["max_tokens"] is None


async def test_tgi_is_asked_in_its_own_words() -> None:
    async with (
        TgiDouble() as engine,
        serve_app(remote("tgi", engine.url, "chat")) as url,
        aiohttp.ClientSession(url) as client,
        client.post("/generate", json=ASK) as response,
    ):
        assert response.status == 200, await response.text()
        body = engine.requests[-1].body
    assert body is not None
    parameters = body["parameters"]
    assert isinstance(parameters, dict)
    asked = text_generation.types.Grammar.model_validate(parameters["grammar"])
    assert (asked.type, asked.value) == (text_generation.types.GrammarType.Json, SCHEMA)


@pytest.mark.parametrize("kind", ["transformers", "openai_compatible"])
async def test_engines_without_grammars_refuse_them_by_name(kind: str) -> None:
    async with VllmDouble() as engine:
        there = remote(kind, engine.url, engine.model)
        here = one_model("nano-chat", "text", kind="transformers", source=str(NANO))
        async with (
            serve_app(here if kind == "transformers" else there) as url,
            aiohttp.ClientSession(url) as client,
            client.post("/generate", json=ASK) as response,
        ):
            assert response.status == 422
            error = await response.json()
    assert error["error_type"] == "validation"
    assert "grammar" in error["error"]
