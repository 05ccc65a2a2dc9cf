"""The same chat over engines elsewhere: their text, as they write it, and not a second longer than somebody reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from backends.base import EngineSpec, ModelSpec
from backends.tgi.backend import TgiBackend
from proxy.registry.models import ModelEntry, Registry
from tests.engines.tgi_double import TgiDouble
from tests.engines.vllm_double import Fault as VllmFault
from tests.engines.vllm_double import Kind, VllmDouble
from tests.support import serve_app

PATH = "/api/ai/huggingface/org/model/chat?chat_id=1"
ASK = {"messages": [{"role": "user", "content": "Hello?"}]}


def remote(kind: str, url: str, served_as: str) -> Registry:
    engine = EngineSpec(name="e", kind=kind, urls=(url,))
    model = ModelEntry(name="org/model", engine="e", spec=ModelSpec(source=served_as), task="text")
    return Registry(engines={"e": engine}, models=(model,))


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer any"}) as http:
        yield http


async def test_vllm(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with (
        VllmDouble(replies={"Hello?": "Good day to you."}) as engine,
        serve_app(remote("vllm", engine.url, engine.model), data=tmp_path) as door,
    ):
        async with http.post(door + PATH, json=ASK) as answer:
            assert await answer.text() == "Good day to you."
        engine.fail(VllmFault(kind="hang", after=3))
        async with http.post(door + PATH, json=ASK) as answer:
            assert await answer.content.readany()
            answer.close()
            async with asyncio.timeout(1):
                await engine.until(lambda engine: len(engine.aborts) == 1)


@pytest.mark.parametrize("kind", ["cut", "end", "error", "garbage", "reset"])
async def test_a_vllm_that_fails_in_the_middle_never_looks_like_the_end(
    http: aiohttp.ClientSession, tmp_path: Path, kind: Kind
) -> None:
    async with VllmDouble() as engine, serve_app(remote("vllm", engine.url, engine.model), data=tmp_path) as door:
        engine.fail(VllmFault(kind=kind, after=3))
        async with http.post(door + PATH, json=ASK) as answer:
            if answer.status == 200:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await answer.read()
            else:
                assert answer.status == 500, "it failed before its first word was read"
        async with http.get(f"{door}/api/ai/chats/1") as answer:
            assert (await answer.json())["messages"][1]["complete"] is False


async def test_tgi(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with TgiDouble() as engine, serve_app(remote("tgi", engine.url, "tgi"), TgiBackend, data=tmp_path) as door:
        async with http.post(door + PATH, json=ASK) as answer:
            assert (await answer.text()).startswith("I heard:")
        engine.fail("hang", after=2)
        async with http.post(door + PATH, json=ASK) as answer:
            assert await answer.content.readany()
            answer.close()
            await engine.aborted(within=1)
