"""A database that goes away and comes back: nothing is asked that cannot be kept, and what was answered is kept later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import pytest

from proxy.chats import chats
from tests.gate import Gate
from tests.postgres import Cluster
from tests.proxy.contracts.chat.talk import PATH, Engine, ask, messages
from tests.support import one_model, serve_app


@pytest.fixture
async def gate(postgres: Cluster) -> AsyncIterator[Gate]:
    """What stands between the proxy and PostgreSQL."""
    async with Gate(postgres.port) as gate:
        yield gate


@pytest.fixture
async def http(engine: Engine, gate: Gate, postgres: Cluster) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a door whose database is behind the gate."""
    url = urlsplit(await asyncio.to_thread(postgres.create))
    behind = url._replace(netloc=f"{url.username}@127.0.0.1:{gate.port}").geturl()
    async with (
        serve_app(one_model("org/model", "text", kind="vllm"), engine.create, database_url=behind) as door,
        aiohttp.ClientSession(door, headers={"Authorization": "Bearer any"}) as http,
    ):
        yield http
        gate.open()


async def test_what_cannot_be_kept_is_not_asked_and_all_is_well_afterwards(
    http: aiohttp.ClientSession, engine: Engine, gate: Gate
) -> None:
    engine.say("One.", None)
    await (await http.post(f"{PATH}?chat_id=1", json=ask("First?"))).read()
    await gate.shut()
    for method, path in (("POST", f"{PATH}?chat_id=1"), ("GET", "/api/ai/chats/1"), ("GET", "/api/ai/chats")):
        async with http.request(method, path, json=ask()) as answer:
            assert (answer.status, (await answer.json())["statusCode"]) == (503, 503)
            assert int(answer.headers["Retry-After"]) > 0
    assert len(engine.requests) == 1
    gate.open()
    engine.say("Two.", None)
    await (await http.post(f"{PATH}?chat_id=1", json=ask("Second?"))).read()
    assert [content for _, content, _ in await messages(http)] == ["First?", "One.", "Second?", "Two."]


async def test_an_answer_that_ends_meanwhile_is_kept_when_the_database_is_back(
    http: aiohttp.ClientSession, engine: Engine, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chats, "RETRY_SECONDS", (0.1,) * 100)
    engine.say("One ")
    async with http.post(f"{PATH}?chat_id=1", json=ask()) as answer:
        await answer.content.readany()
        await gate.shut()
        engine.say("and two.", None)
        assert await answer.content.read() == b"and two.", "whoever listens hears it to its end"
    gate.open()
    async with asyncio.timeout(10):
        # Nobody is told when an answer is kept at last.
        while (await messages(http))[1] != ("assistant", "One and two.", True):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
