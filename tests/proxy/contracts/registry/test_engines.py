"""`generate` on each engine that serves text: what vLLM and TGI are told, and what comes back, the shipped model included."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

import aiohttp
import pytest

import backends
from backends.base import EngineSpec
from proxy.registry.config import load_registry
from proxy.registry.models import Registry
from proxy.settings import Settings
from tests.backends.pipelines import tiny
from tests.engines.tgi_double import TgiDouble
from tests.engines.vllm_double import VllmDouble
from tests.proxy.contracts.openai.conftest import remote
from tests.proxy.contracts.registry.conftest import Body, Client
from tests.support import serve_app

NANO = Path(backends.__file__).parent / "nano" / "switchboard.toml"
OPTIONS = {"max_new_tokens": 7, "temperature": 0.5, "top_p": 0.8, "top_k": 9, "repetition_penalty": 1.3}
ASK: Body = {"model_id": "tiny", "prompt": "The future is"}


@pytest.fixture(autouse=True)
def imported() -> None:
    """The door is opened within the loop here, where imports would block it."""
    import_module("backends.tgi.backend")


@asynccontextmanager
async def opened(registry: Registry) -> AsyncIterator[Client]:
    async with serve_app(registry) as url, aiohttp.ClientSession() as http:
        yield Client(http, url)


async def test_vllm_is_told_every_option() -> None:
    async with VllmDouble() as engine, opened(remote("vllm", engine.url, engine.model)) as ask:
        status, body = await ask("POST", "/generate", {**ASK, **OPTIONS})
        assert (status, bool(body["response"]), body["parameters"]) == (200, True, {**OPTIONS, "do_sample": True})
        told = engine.requests[-1]
        assert told.path == "/v1/completions"
        names = {**OPTIONS, "max_tokens": OPTIONS["max_new_tokens"], "prompt": "The future is"}
        del names["max_new_tokens"]
        assert {name: told.json[name] for name in names} == names
        await ask("POST", "/generate", {**ASK, "do_sample": False})
        assert engine.requests[-1].json["temperature"] == 0
        assert engine.requests[-1].json["max_tokens"] == 100
        await ask("PUT", "/models/tiny", {"model_type": "conversational"})
        await ask("POST", "/generate", ASK)
        assert engine.requests[-1].path == "/v1/chat/completions"
        assert (await ask("POST", "/models/tiny/load"))[1]["device"] == "remote"
        assert (await ask("GET", "/cache"))[1]["cached_models"] == {}


async def test_tgi_is_told_every_option() -> None:
    async with TgiDouble() as engine, opened(remote("tgi", engine.url, "tiny")) as ask:
        status, body = await ask("POST", "/generate", {**ASK, **OPTIONS})
        assert (status, body["response"].strip()) == (200, "I heard: The future is")
        told = engine.requests[-1].body
        assert told is not None
        parameters = told["parameters"]
        assert isinstance(parameters, dict)
        assert {name: parameters[name] for name in OPTIONS} == OPTIONS
        assert (await ask("POST", "/generate", {**ASK, "do_sample": False}))[0] == 200
        # Its chats have no top_k: what only a default asks for is left out, what the caller asks for is refused.
        await ask("PUT", "/models/tiny", {"model_type": "conversational"})
        status, body = await ask("POST", "/generate", ASK)
        assert (status, "top_k" in body["parameters"]) == (200, False)
        status, body = await ask("POST", "/generate", {**ASK, "top_k": 5})
        assert (status, "top_k" in body["error"]) == (400, True)


@pytest.fixture
def shipped() -> Registry:
    """What `make run` configures."""
    return load_registry(Settings(config=NANO))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (tiny.gpt2, "text-generation"),
        (tiny.gpt2, "conversational"),
        (tiny.bart, "conversational"),
        (tiny.t5, "text-generation"),
        (tiny.t5, "text2text-generation"),
        (tiny.bart, "summarization"),
    ],
)
async def test_whatever_writes_text_generates(
    make: tiny.Make, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a template for chats, and with less room than the contract's 100 tokens."""
    home = await asyncio.to_thread(tiny.cached, tmp_path, org__tiny=make)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    engines = {
        name: EngineSpec(name=name, kind=name, device="cpu", data=tmp_path) for name in ("transformers", "pipelines")
    }
    async with opened(Registry(engines=engines)) as ask:
        await ask.add("org/tiny", kind)
        status, body = await ask("POST", "/generate", {"model_id": "org/tiny", "prompt": "emma bought the yellow box"})
        assert (status, body["success"]) == (200, True), body
        assert body["parameters"]["max_new_tokens"] == 100
        assert list((await ask("GET", "/cache"))[1]["cached_models"]) == ["org/tiny"]


def coded(directory: Path) -> None:
    tiny.gpt2(directory)
    config = directory / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {"AutoModel": "code.Model"}}))


def pickled(directory: Path) -> None:
    tiny.gpt2(directory)
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


@pytest.mark.parametrize("kind", ["text-generation", "summarization", "translation"])
@pytest.mark.parametrize(
    ("make", "status", "words"),
    [
        (coded, 400, "code of its own"),
        (pickled, 400, "no weights as safetensors"),
        (None, 404, "neither in the hub's cache"),
    ],
)
async def test_a_model_that_cannot_be_run_is_its_choosers_mistake(
    kind: str, make: tiny.Make | None, status: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await asyncio.to_thread(tiny.cached, tmp_path, **({"org__tiny": make} if make else {}))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    engines = {
        name: EngineSpec(name=name, kind=name, device="cpu", data=tmp_path)
        for name in ("transformers", "pipelines", "translation")
    }
    async with opened(Registry(engines=engines)) as ask:
        await ask.add("org/tiny", kind)
        asked = [
            ("/models/org/tiny/load", {}),
            ("/pipeline", {"model_id": "org/tiny", "task": kind, "inputs": "emma"}),
            *([("/generate", {"model_id": "org/tiny", "prompt": "emma"})] if kind != "translation" else []),
        ]
        for path, body in asked:
            told, answer = await ask("POST", path, body)
            assert (told, answer["success"], words in answer["error"]) == (status, False, True), (path, answer)


@pytest.mark.parametrize("kind", ["text-generation", "summarization", "translation"])
async def test_a_model_registered_as_another_kind_is_told(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await asyncio.to_thread(tiny.cached, tmp_path, org__tiny=tiny.bert("ForMaskedLM"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    engines = {
        name: EngineSpec(name=name, kind=name, device="cpu", data=tmp_path)
        for name in ("transformers", "pipelines", "translation")
    }
    async with opened(Registry(engines=engines)) as ask:
        await ask.add("org/tiny", kind)
        assert (await ask("POST", "/models/org/tiny/load"))[0] == 400


async def test_the_shipped_models_answer(shipped: Registry) -> None:
    async with opened(shipped) as ask:
        listed = {model["model_id"]: model["model_type"] for model in (await ask("GET", "/models"))[1]["models"]}
        assert {"nano-chat": "conversational", "nano-translate": "translation"}.items() <= listed.items()
        question = {"model_id": "nano-chat", "prompt": "What is the capital of France?", "do_sample": False}
        assert (await ask("POST", "/generate", question))[1]["response"] == "The capital of France is Paris."
        sent = {"model_id": "nano-translate", "task": "translation", "inputs": "The sister drinks the coffee."}
        _, body = await ask("POST", "/pipeline", {**sent, "src_lang": "en", "tgt_lang": "fr"})
        assert body["results"] == [{"translation_text": "La sœur boit le café."}]
        sent = {"model_id": "nano-chat", "task": "text-generation", "inputs": "Once upon a time"}
        _, body = await ask("POST", "/pipeline", {**sent, "max_length": 20, "num_return_sequences": 1})
        assert body["results"] == [{"generated_text": body["results"][0]["generated_text"]}]
        assert len(body["results"][0]["generated_text"]) < 100
        _, body = await ask("GET", "/cache")
        assert body["cached_pipelines"] == ["nano-chat_text-generation"]
        assert (await ask("DELETE", "/cache"))[0] == 200
        assert (await ask("GET", "/cache"))[1]["total_cached"] == 0
