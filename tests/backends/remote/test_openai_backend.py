from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace

import pytest

from backends.base import EngineSpec, ModelSpec, Timeouts
from backends.errors import Broken, TimedOut, Unavailable, Unsupported
from backends.openai_compatible.backend import OpenAICompatibleBackend
from backends.types import Chat, Complete, Delta, Event, Finish, Sampling, Transcribe, Usage
from backends.vllm.backend import VllmBackend
from tests.backends.remote.rig import chunked, engine_running, engine_spec, head, json_answer, replay, sse_answer

CHAT = Chat(messages=({"role": "user", "content": "hi"},))
DONE = b"data: [DONE]\n\n"
HELLO = b'data: {"choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": null}]}\n\n'
STOP = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}\n\n'


def test_the_allowlists() -> None:
    vllm = VllmBackend(engine_spec("http://127.0.0.1:1"))
    other = OpenAICompatibleBackend(EngineSpec(name="o", kind="openai_compatible", urls=("http://127.0.0.1:1",)))
    for path in (
        "chat/completions",
        "completions",
        "embeddings",
        "responses",
        "audio/transcriptions",
        "audio/translations",
    ):
        assert vllm.relays("POST", f"/v1/{path}")
        assert other.relays("POST", f"/v1/{path}")
    for path in ("/v1/rerank", "/rerank", "/v1/score", "/score", "/tokenize", "/detokenize"):
        assert (vllm.relays("POST", path), other.relays("POST", path)) == (True, False)
    for method, path in (
        ("GET", "/v1/models"),
        ("POST", "/invocations"),
        ("POST", "/sleep"),
        ("GET", "/v1/chat/completions"),
    ):
        assert not vllm.relays(method, path)


async def test_events_of_a_chat() -> None:
    async with engine_running(replay(sse_answer(b": hi\n\n", HELLO, STOP, USAGE, DONE))) as engine:
        backend = VllmBackend(engine_spec(engine.url))
        events: list[Event] = [event async for event in backend.run(ModelSpec(source="served"), CHAT)]
        assert events == [Delta(0, "hello"), Finish(0, "stop"), Usage(1, 2)]
        assert engine.requests[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
        assert b'"model":"served"' in engine.requests[0]
        await backend.close()


@pytest.mark.parametrize(("choices", "sound"), [(1, True), (2, False)], ids=["finished", "one of two"])
async def test_a_forgotten_last_word_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, choices: int, sound: bool
) -> None:
    monkeypatch.setattr("backends.remote.openai_backend.FINISHED_FOR", 0.1)
    stream = replay(head(b"Transfer-Encoding: chunked\r\n"), chunked(HELLO, STOP, USAGE), then="hang")
    asked = replace(CHAT, sampling=Sampling(n=choices))
    async with engine_running(stream) as engine:
        backend = VllmBackend(engine_spec(engine.url, timeouts=Timeouts(idle=0.5)))
        with nullcontext() if sound else pytest.raises(TimedOut):
            events = [event async for event in backend.run(ModelSpec(source="m"), asked)]
            assert events == [Delta(0, "hello"), Finish(0, "stop"), Usage(1, 2)]
        await backend.close()


async def test_events_of_a_completion() -> None:
    text = b'data: {"choices": [{"index": 0, "text": "hello", "finish_reason": "length"}]}\n\n'
    async with engine_running(replay(sse_answer(text, DONE))) as engine:
        backend = VllmBackend(engine_spec(engine.url))
        events = [event async for event in backend.run(ModelSpec(source="m"), Complete(prompts=("x",)))]
        assert events == [Delta(0, "hello"), Finish(0, "length")]
        assert engine.requests[0].startswith(b"POST /v1/completions HTTP/1.1\r\n")
        await backend.close()


@pytest.mark.parametrize(
    "stream", [sse_answer(HELLO, STOP), sse_answer(b"data: nonsense\n\n"), sse_answer(b"data: [1]\n\n")]
)
async def test_a_stream_that_is_none_is_broken(stream: bytes) -> None:
    async with engine_running(replay(stream)) as engine:
        backend = VllmBackend(engine_spec(engine.url))
        with pytest.raises(Broken):
            _ = [event async for event in backend.run(ModelSpec(source="m"), CHAT)]
        await backend.close()


async def test_closing_the_events_closes_the_engines_connection() -> None:
    async with engine_running(replay(sse_answer(HELLO, end=b""), then="hang")) as engine:
        backend = VllmBackend(engine_spec(engine.url))
        events = backend.run(ModelSpec(source="m"), CHAT)
        assert await anext(events) == Delta(0, "hello")
        await events.aclose()
        await asyncio.wait_for(engine.quiet.wait(), 1)


async def test_only_text_is_served_as_events() -> None:
    backend = VllmBackend(engine_spec("http://127.0.0.1:1"))
    with pytest.raises(Unsupported):
        await anext(backend.run(ModelSpec(source="m"), Transcribe(audio=b"")))


async def test_health_is_a_real_answer_of_the_right_shape() -> None:
    for answer, ok in (
        (json_answer(b'{"object": "list", "data": []}'), True),
        (json_answer(b'{"detail": "x"}'), False),
        (json_answer(b"<html>"), False),
        (json_answer(b"{}", b"401 Unauthorized"), False),
    ):
        async with engine_running(replay(answer)) as engine:
            backend = VllmBackend(engine_spec(engine.url, key="k"))
            health = await backend.health()
            assert (health.ok, bool(health.reason)) == (ok, not ok)
            assert engine.requests[0].startswith(b"GET /v1/models HTTP/1.1\r\n")
            await backend.close()
    assert not (await VllmBackend(engine_spec(engine.url)).health()).ok


async def test_an_engine_that_says_nothing_is_not_healthy() -> None:
    async with engine_running(replay(then="hang")) as engine:
        backend = VllmBackend(engine_spec(engine.url, timeouts=Timeouts(first_byte=0.2)))
        health = await asyncio.wait_for(backend.health(), 2)
        assert not health.ok
        assert "said nothing" in health.reason


async def test_nothing_there_is_unavailable() -> None:
    backend = VllmBackend(engine_spec("http://127.0.0.1:1"))
    with pytest.raises(Unavailable):
        await anext(backend.run(ModelSpec(source="m"), CHAT))
