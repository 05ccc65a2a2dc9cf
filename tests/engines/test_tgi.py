"""What the SDK expects of any engine, of TGI's double behind the door."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest

from backends.base import EngineSpec, ModelSpec, Timeouts
from proxy.registry.models import ModelEntry, Registry
from tests.engines.sdk_checks import CHECKS, Check, Door
from tests.engines.tgi_double import TgiDouble
from tests.support import serve_app


@pytest.fixture
async def engine() -> AsyncIterator[TgiDouble]:
    async with TgiDouble() as double:
        yield double


@pytest.fixture
async def door(engine: TgiDouble) -> AsyncIterator[Door]:
    timeouts = Timeouts(connect=2, first_byte=1, idle=1)
    spec = EngineSpec(name="tgi", kind="tgi", urls=(engine.url,), timeouts=timeouts)
    entry = ModelEntry(name="chat", engine="tgi", spec=ModelSpec(source="chat"), task="text")
    async with serve_app(Registry(engines={"tgi": spec}, models=(entry,))) as url:
        yield Door(
            base_url=f"{url}/v1",
            model="chat",
            question="one two three four five",
            answer="I heard: one two three four five",
        )


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
async def test_it_does_what_sdks_expect(door: Door, check: Check) -> None:
    await check(door)


async def test_what_openai_allows_and_tgi_does_not_is_made_to_fit(door: Door, engine: TgiDouble) -> None:
    async with door.client() as sdk:
        answer = await sdk.chat.completions.create(
            model=door.model,
            messages=door.messages,
            top_p=1,
            presence_penalty=0,
            response_format={"type": "text"},
            stop=" four",
        )
    assert answer.choices[0].message.content == "I heard: one two three"
    assert (answer.choices[0].finish_reason, answer.model) == ("stop", "chat")
    assert answer.id.startswith("chatcmpl-")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_overloaded_tgi_is_429_also_when_it_says_so_inside_a_stream(
    door: Door, engine: TgiDouble, stream: bool
) -> None:
    engine.fail("overloaded")
    async with door.client() as sdk:
        with pytest.raises(openai.RateLimitError) as refused:
            await sdk.chat.completions.create(model=door.model, messages=door.messages, stream=stream)
    assert refused.value.response.headers["retry-after"]


async def test_a_tool_call(door: Door, engine: TgiDouble) -> None:
    engine.call_tool("weather", '{"city":"Paris"}')
    async with door.client() as sdk:
        answer = await sdk.chat.completions.create(
            model=door.model,
            messages=door.messages,
            tools=[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
        )
    assert answer.choices[0].finish_reason == "tool_calls"
    calls = answer.choices[0].message.tool_calls
    assert calls is not None and calls[0].type == "function"
    assert (calls[0].function.name, calls[0].function.arguments) == ("weather", '{"city":"Paris"}')


async def test_a_client_who_leaves_frees_tgi(door: Door, engine: TgiDouble) -> None:
    engine.fail("hang")
    async with door.client() as sdk:
        with pytest.raises(openai.APITimeoutError):
            await sdk.with_options(timeout=0.3).chat.completions.create(
                model=door.model, messages=door.messages, stream=True
            )
        await engine.aborted(1, within=1)
