"""Models whose engine is not there yet, as OpenAI's clients see them: it starts; who waits is told; what fails is an error."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
import structlog
from openai import APIError, AsyncOpenAI, InternalServerError

from backends.base import EngineSpec, HealthRules, ModelSpec
from backends.launch import Launch
from proxy.http import waiting
from proxy.registry.models import ModelEntry, Registry, Target
from proxy.routing.attempts import Attempts
from tests.proxy.lifecycle.engine_rig import launch
from tests.support import serve_app

BODY = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}


@asynccontextmanager
async def door(*launches: Launch, load_wait_seconds: float = 60.0) -> AsyncIterator[str]:
    """A door to one model on engines that are started so."""
    names = [f"engine-{number}" for number in range(len(launches))]
    engines = {
        name: EngineSpec(name=name, kind="vllm", launch=each, health=HealthRules(first_pause=30.0))
        for name, each in zip(names, launches, strict=True)
    }
    spec = ModelSpec(source="fake", name="chat")
    targets = tuple(Target(engine=name, spec=spec) for name in names) if len(names) > 1 else ()
    model = ModelEntry(name="chat", engine=names[0], spec=spec, task="text", targets=targets)
    async with serve_app(Registry(engines=engines, models=(model,)), load_wait_seconds=load_wait_seconds) as url:
        yield url


async def lines(answer: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """The lines of a stream that are not empty."""
    async for line in answer.content:
        if text := line.decode().strip():
            yield text


async def test_a_chat_starts_the_engine_and_is_answered(http: aiohttp.ClientSession) -> None:
    async with door(launch("--delay", "0.3")) as url:
        async with http.post(f"{url}/v1/chat/completions", json=BODY) as answer:
            told = await answer.json()
            assert (answer.status, told["choices"][0]["message"]["content"]) == (200, "fake says hello")
        async with http.get(f"{url}/v1/models") as answer:
            assert (await answer.json())["data"][0]["id"] == "chat"


async def test_who_waits_longer_than_is_usual_comes_again(http: aiohttp.ClientSession) -> None:
    async with (
        door(launch("--delay", "3"), load_wait_seconds=0.2) as url,
        http.post(f"{url}/v1/chat/completions", json=BODY) as answer,
    ):
        told = await answer.json()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert "still loading (loading_weights, 0 %)" in told["error"]["message"]


async def test_a_stream_is_told_by_comments_and_waits_for_as_long_as_it_takes(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "FIRST_SECONDS", 0.1)
    monkeypatch.setattr(waiting, "EVERY_SECONDS", 0.1)
    async with door(launch("--delay", "0.6"), load_wait_seconds=0.2) as url:
        async with http.post(f"{url}/v1/chat/completions", json={**BODY, "stream": True}) as answer:
            assert answer.content_type == "text/event-stream"
            seen = [line async for line in lines(answer)]
        assert seen[0] == ": loading", "nobody knows yet how long it takes"
        assert len([line for line in seen if line.startswith(": loading")]) >= 3
        events = [line for line in seen if not line.startswith(":")]
        assert events[-1] == "data: [DONE]"
        assert len(events) == 5
        async with http.post(f"{url}/v1/chat/completions", json={**BODY, "stream": True}) as answer:
            warm = [line async for line in lines(answer)]
        assert warm == events, "the engine's own bytes, whether it was waited for or not"


async def test_openais_client_reads_on_over_the_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_SECONDS", 0.1)
    monkeypatch.setattr(waiting, "EVERY_SECONDS", 0.1)
    async with (
        door(launch("--delay", "0.5")) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as sdk,
    ):
        stream = await sdk.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert said == "0 1 2 "


async def test_a_start_that_fails_soon_is_a_status(http: aiohttp.ClientSession) -> None:
    async with (
        door(launch("--fail", "3", "--say", "no weights")) as url,
        http.post(f"{url}/v1/chat/completions", json={**BODY, "stream": True}) as answer,
    ):
        assert answer.status == 502
        assert "Its last words: no weights" in (await answer.json())["error"]["message"]


async def test_a_start_that_fails_after_the_first_comment_is_an_error_in_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "FIRST_SECONDS", 0.1)
    async with (
        door(launch("--delay", "0.5", "--fail", "3")) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as sdk,
    ):
        stream = await sdk.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        with pytest.raises(APIError, match="ended with exit status 3 before it served"):
            async for _ in stream:
                pass


async def test_what_nobody_expected_after_the_first_comment_ends_the_stream_too(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        await asyncio.sleep(0.3)
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(waiting, "FIRST_SECONDS", 0.1)
    monkeypatch.setattr(Attempts, "relay", fails)
    with structlog.testing.capture_logs() as logs:
        async with (
            door(launch()) as url,
            http.post(f"{url}/v1/chat/completions", json={**BODY, "stream": True}) as answer,
        ):
            seen = [line async for line in lines(answer)]
        assert "unexpected error in a stream" in [line["event"] for line in logs]
        assert seen[0].startswith(": loading")
        assert "The server failed in the middle of this answer" in seen[-1]
        assert "a fault of ours" not in seen[-1]


async def test_an_engine_that_refuses_the_request_after_a_comment(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "FIRST_SECONDS", 0.1)
    async with (
        door(launch("--delay", "0.5", "--refuse")) as url,
        http.post(f"{url}/v1/chat/completions", json={**BODY, "stream": True}) as answer,
    ):
        seen = [line async for line in lines(answer)]
        assert seen[0].startswith(": loading")
        assert '"message":"too hard"' in seen[-1]


async def test_killed_under_a_stream_it_ends_in_an_error_and_the_next_request_starts_it_again() -> None:
    async with (
        door(launch("--pause", "0.05")) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as sdk,
    ):
        stream = await sdk.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "hello"}], stream=True, max_tokens=1000
        )
        first = await anext(aiter(stream))
        os.kill(int(first.id.removeprefix("pid-")), signal.SIGKILL)
        with pytest.raises(APIError, match="in the middle of its answer"):
            async for _ in stream:
                pass
        started = time.monotonic()
        again = await sdk.chat.completions.create(model="chat", messages=[{"role": "user", "content": "hello"}])
        assert again.id != first.id
        assert time.monotonic() - started < 10, "nothing is held against a new process"


async def test_of_two_engines_one_starts_and_one_that_was_killed_comes_back() -> None:
    async with (
        door(launch(), launch()) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as sdk,
    ):

        async def served_by() -> str:
            answer = await sdk.chat.completions.create(model="chat", messages=[{"role": "user", "content": "hello"}])
            return answer.id

        first = await served_by()
        assert {await served_by() for _ in range(5)} == {first}, "the other is not needed"
        os.kill(int(first.removeprefix("pid-")), signal.SIGKILL)
        async with asyncio.timeout(10):
            while True:
                try:
                    second = await served_by()
                except InternalServerError:
                    continue
                if second != first:
                    break
        assert second != first


async def test_a_client_who_leaves_while_it_waits_leaves_nothing_behind(http: aiohttp.ClientSession) -> None:
    async with door(launch("--delay", "0.6")) as url:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), http.post(f"{url}/v1/chat/completions", json={**BODY, "stream": True}):
                pass
        async with http.post(f"{url}/v1/chat/completions", json=BODY) as answer:
            assert answer.status == 200
