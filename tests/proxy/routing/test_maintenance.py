"""An engine of this process is drained while it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import ClientSession

from backends.base import EngineSpec, ModelSpec, Report
from backends.types import Delta, Event, Finish, JsonObject, Request
from proxy.registry.models import ModelEntry, Registry
from tests.support import ScriptedBackend, serve_app

ENTRY = ModelEntry(name="m", engine="here", spec=ModelSpec(source="owner/m", name="m"), task="text", preload=True)
REGISTRY = Registry(engines={"here": EngineSpec(name="here", kind="transformers", device="cpu")}, models=(ENTRY,))
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}


@dataclass
class Slow(ScriptedBackend):
    """Begins its answers, and ends them when it may. loads: of models, less those that have gone."""

    may: asyncio.Event = field(default_factory=asyncio.Event)
    loads: int = 0

    async def load(self, model: ModelSpec, report: Report) -> None:
        self.loads += 1

    async def unload(self, model: ModelSpec) -> None:
        self.loads -= 1

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        assert self.loads == 1
        yield Delta(0, "Hello")
        await self.may.wait()
        yield Delta(0, " there.")
        yield Finish(0, "stop")


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def post(http: ClientSession, url: str) -> JsonObject:
    async with http.post(url) as answer:
        assert answer.status == 200
        told: JsonObject = await answer.json()
        return told


async def until_ready(http: ClientSession, url: str) -> None:
    async with asyncio.timeout(10):
        while (await http.get(f"{url}/ready")).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_runs_ends_whole_and_then_the_model_leaves(http: ClientSession) -> None:
    backend = Slow(lambda _: ())
    async with serve_app(REGISTRY, lambda _: backend) as url:
        await until_ready(http, url)
        stream = await http.post(f"{url}/v1/chat/completions", json=CHAT)
        await stream.content.readline()
        assert (await post(http, f"{url}/admin/engines/here/drain"))["in_flight"] == 1
        async with http.post(f"{url}/v1/chat/completions", json=CHAT) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert (await post(http, f"{url}/admin/engines/here/drain?wait=0.05"))["in_flight"] == 1
        waiting = asyncio.create_task(post(http, f"{url}/admin/engines/here/drain?wait=10"))
        backend.may.set()
        body = await stream.read()
        assert b" there." in body and body.endswith(b"data: [DONE]\n\n")
        assert await waiting == {"engine": "here", "replica": None, "draining": True, "in_flight": 0}
        assert backend.loads == 0
        # A reload does not bring it back behind the operator's back.
        await post(http, f"{url}/admin/reload")
        assert backend.loads == 0
        # The configuration preloads it: it is there again without being asked for.
        await post(http, f"{url}/admin/engines/here/undrain")
        async with asyncio.timeout(10):
            while backend.loads != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        async with http.post(f"{url}/v1/chat/completions", json=CHAT) as answer:
            assert answer.status == 200


async def test_an_engine_that_is_drained_by_the_file_is_not_preloaded(http: ClientSession) -> None:
    backend = Slow(lambda _: ())
    async with serve_app(replace(REGISTRY, drained=frozenset({"here"})), lambda _: backend) as url:
        await until_ready(http, url)
        async with http.post(f"{url}/v1/chat/completions", json=CHAT) as answer:
            assert answer.status == 503
        assert backend.loads == 0
