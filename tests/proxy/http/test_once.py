"""Requests with one `Idempotency-Key`: done once at a time, as their clients see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from backends.types import Delta, Finish
from tests.faults.door import PATIENT, registry_of
from tests.faults.scripted_engine import ScriptedEngine, Turn, cut, refusal, sound
from tests.support import ScriptedBackend, one_model, serve_app

KEY = {"Idempotency-Key": "k"}
CHAT = "/v1/chat/completions"


def asking(text: str = "hello", **more: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


class Held:
    """A script that answers when it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()

    async def __call__(self, turn: Turn) -> None:
        await self.let.wait()
        await sound(turn)


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine(7) as engine:
        yield engine


@pytest.fixture
async def http(engine: ScriptedEngine) -> AsyncIterator[aiohttp.ClientSession]:
    registry = registry_of(engine.url, timeouts=PATIENT)
    async with serve_app(registry) as door, aiohttp.ClientSession(door) as http:
        yield http


async def answer(http: aiohttp.ClientSession, body: dict[str, object], key: dict[str, str] = KEY) -> tuple[int, bytes]:
    async with http.post(CHAT, json=body, headers=key) as answer:
        assert answer.headers["X-Request-Id"]
        return answer.status, await answer.read()


async def test_one_is_done_and_all_get_its_answer(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    engine.script = held = Held()
    asked = [asyncio.create_task(answer(http, asking())) for _ in range(5)]
    await engine.executed(1)
    assert (await answer(http, asking("another")))[0] == 422
    held.let.set()
    assert {await each for each in asked} == {(200, engine.said("hello").whole)}
    assert engine.executions == {"hello": 1}


@pytest.mark.parametrize(
    ("limit", "value", "times"),
    [("KEPT_SECONDS", 60.0, 1), ("KEPT_SECONDS", 0.0, 3), ("KEPT_BYTES", 10, 3), ("KEPT_ANSWERS", 0, 3)],
)
async def test_its_answer_is_given_again_for_a_while(
    http: aiohttp.ClientSession,
    engine: ScriptedEngine,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: float,
    times: int,
) -> None:
    monkeypatch.setattr(f"proxy.http.once.{limit}", value)
    for _ in range(3):
        assert await answer(http, asking()) == (200, engine.said("hello").whole)
    assert engine.executions == {"hello": times}


async def test_other_keys_and_none_are_other_requests(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    await asyncio.gather(*(answer(http, asking(), key) for key in (KEY, {"Idempotency-Key": "l"}, {}, {})))
    assert engine.executions == {"hello": 4}


async def test_an_error_is_everybodys_too(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    engine.script = refusal(b"400 Bad Request", "not like this")
    said = await asyncio.gather(*(answer(http, asking()) for _ in range(5)))
    assert {status for status, _ in said} == {400}
    assert engine.executions == {"hello": 1}


async def test_an_answer_cut_short_is_a_status(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    engine.script = cut(1, "close")
    assert (await answer(http, asking()))[0] == 502


async def test_when_who_began_it_leaves_the_next_begins_it_anew(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    engine.script = held = Held()
    first = asyncio.create_task(answer(http, asking()))
    await engine.executed(1)
    second = asyncio.create_task(answer(http, asking()))
    await asyncio.sleep(0.05)
    first.cancel()
    held.let.set()
    assert await second == (200, engine.said("hello").whole)


async def test_a_stream_is_its_clients_alone(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    engine.script = held = Held()
    first = asyncio.create_task(answer(http, asking(stream=True)))
    await engine.executed(1)
    assert (await answer(http, asking(stream=True)))[0] == 409
    held.let.set()
    assert await first == (200, b"".join(engine.said("hello").frames))


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_is_of_one_to_255_characters(http: aiohttp.ClientSession, key: str) -> None:
    status, body = await answer(http, asking(), {"Idempotency-Key": key})
    assert status == 400 and b"Idempotency-Key" in body


async def test_models_of_this_process_heed_it_too() -> None:
    backend = ScriptedBackend(lambda _: (Delta(0, "hi"), Finish(0, "stop")))
    registry = one_model("m", "text", kind="transformers")
    async with serve_app(registry, backend.create) as door, aiohttp.ClientSession(door) as http:
        said = await asyncio.gather(*(answer(http, asking()) for _ in range(5)))
    assert len({body for _, body in said}) == 1
    assert len(backend.requests) == 1
