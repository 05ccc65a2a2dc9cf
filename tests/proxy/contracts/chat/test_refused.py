"""What was refused before its first word was never asked: nothing of it is kept, and no use counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from backends.errors import BackendError, Broken, Invalid, Overloaded, Rejected
from tests.proxy.contracts.chat.talk import PATH, Engine, ask, messages
from tests.support import one_model, serve_app

MODELS = "/api/huggingface/models"
REFUSALS = [
    Invalid("The prompt has 9000 tokens.", param="messages"),
    Rejected("Too long.", status=400, body=b"", content_type=""),
    Overloaded("Too many requests are queued."),
]


@pytest.fixture
async def http(engine: Engine, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    registry = one_model("org/model", "text", "other/name", "plain", kind="transformers")
    async with (
        serve_app(registry, engine.create, data=tmp_path) as url,
        aiohttp.ClientSession(url, headers={"Authorization": "Bearer any"}) as session,
    ):
        yield session


async def uses(http: aiohttp.ClientSession, model_id: str = "org/model") -> int:
    async with http.get(f"{MODELS}/{model_id}") as answer:
        model = (await answer.json())["model"]
    assert (model["last_used"] is None) == (model["usage_count"] == 0)
    count: int = model["usage_count"]
    return count


@pytest.mark.parametrize("failure", REFUSALS, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
async def test_a_refused_question_leaves_no_chat(
    http: aiohttp.ClientSession, engine: Engine, failure: BackendError, accept: str
) -> None:
    engine.say(failure)
    async with http.post(f"{PATH}?chat_id=1", json=ask(), headers={"Accept": accept}) as answer:
        assert answer.status in (400, 429)
    async with http.get("/api/ai/chats") as answer:
        assert (await answer.json())["chats"] == []
    engine.say("Hello.", None)
    await (await http.post(f"{PATH}?chat_id=1", json=ask())).read()
    engine.say(failure)
    await (await http.post(f"{PATH}?chat_id=1", json=ask("Again?"))).read()
    assert await messages(http) == [("user", "Hello?", True), ("assistant", "Hello.", True)]
    assert await uses(http) == 1


async def test_a_failure_keeps_the_question(http: aiohttp.ClientSession, engine: Engine) -> None:
    engine.say(Broken("It answered with garbage."))
    async with http.post(f"{PATH}?chat_id=1", json=ask()) as answer:
        assert answer.status == 500
    assert await messages(http) == [("user", "Hello?", True), ("assistant", "", False)]
    assert await uses(http) == 0


async def test_what_was_said_before_an_error_is_kept(http: aiohttp.ClientSession, engine: Engine) -> None:
    engine.say("Hel", Overloaded("Too many."))
    async with http.post(f"{PATH}?chat_id=1", json=ask(), headers={"Accept": "text/event-stream"}) as answer:
        assert "event: error" in await answer.text()
    assert await messages(http) == [("user", "Hello?", True), ("assistant", "Hel", False)]
    assert await uses(http) == 0


async def test_a_question_behind_a_refused_one_stays(http: aiohttp.ClientSession, engine: Engine) -> None:
    first = asyncio.create_task(_asked(http, "First?"))
    await engine.runs(1)
    second = asyncio.create_task(_asked(http, "Second?"))
    await engine.runs(2)
    engine.say(REFUSALS[0], None)
    assert sorted([await first, await second]) == [200, 400]
    assert [(role, said) for role, said, _ in await messages(http)] == [
        ("user", "First?"),
        ("assistant", ""),
        ("user", "Second?"),
        ("assistant", ""),
    ]


async def _asked(http: aiohttp.ClientSession, question: str = "Hello?", path: str = PATH) -> int:
    async with http.post(f"{path}?chat_id=1", json=ask(question)) as answer:
        await answer.read()
        return answer.status


async def test_each_name_of_a_model_counts_its_uses(http: aiohttp.ClientSession, engine: Engine) -> None:
    for path in ("org/model", "other/name", "local/plain"):
        engine.say("Hello.", None)
        assert await _asked(http, path=f"/api/ai/huggingface/{path}/chat") == 200
    assert await uses(http) == 3
    added = {"model_id": "plain", "name": "Plain", "model_type": "conversational"}
    assert (await http.post(MODELS, json=added)).ok
    engine.say("Hello.", None)
    assert await _asked(http, path="/api/ai/huggingface/local/plain/chat") == 200
    assert (await uses(http), await uses(http, "plain")) == (3, 1)


async def test_a_name_of_a_retired_model_is_answered_for(http: aiohttp.ClientSession, engine: Engine) -> None:
    assert (await http.put(f"{MODELS}/org/model", json={"status": "retired"})).ok
    for path in ("org/model", "other/name", "local/plain"):
        async with http.post(f"/api/ai/huggingface/{path}/chat?chat_id=1", json=ask()) as answer:
            assert await answer.json() == {"statusCode": 400, "statusMessage": "Service not available anymore."}


@pytest.mark.parametrize("sent", ["%FF", "a%C3", "%ED%A0%80", "b%80c"])
async def test_an_id_of_bytes_that_are_no_text_is_refused(
    http: aiohttp.ClientSession, engine: Engine, sent: str
) -> None:
    for method, path in (
        ("POST", f"{PATH}?chat_id={sent}"),
        ("GET", f"/api/ai/chats/{sent}"),
        ("DELETE", f"/api/ai/chats/{sent}"),
    ):
        async with http.request(method, URL(path, encoded=True), json=ask()) as answer:
            told = await answer.json()
        assert (answer.status, "UTF-8" in told["statusMessage"]) == (400, True), (path, told)
    assert not engine.requests
