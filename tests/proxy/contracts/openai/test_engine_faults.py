"""What clients see when the engine fails: a status before the first byte, an event after it, never a silent end."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from openai import APIError, AsyncOpenAI, InternalServerError, RateLimitError

from tests.engines.vllm_double import Fault, VllmDouble

ASK = {"model": "tiny", "messages": [{"role": "user", "content": "Tell me a story"}], "max_tokens": 30}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(kind="reset"), 502),
        (Fault(kind="garbage"), 502),
        (Fault(kind="not_json"), 502),
        (Fault(kind="hang"), 504),
        (Fault(kind="status", status=500), 500),
        (Fault(kind="status", status=503), 503),
        (Fault(kind="status", status=429), 429),
        (Fault(kind="status", status=401, body=b'{"error":"Unauthorized"}'), 502),
        (Fault(kind="status", status=404, body=b'{"detail":"Not Found"}'), 404),
        (Fault(kind="status", status=502, body=b"<html>bad gateway</html>"), 502),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else str(value),
)
async def test_before_the_first_byte_an_error_is_a_status(
    door: str, engine: VllmDouble, http: aiohttp.ClientSession, fault: Fault, status: int, stream: bool
) -> None:
    engine.fail(fault)
    async with http.post(f"{door}/v1/chat/completions", json={**ASK, "stream": stream}) as answer:
        body = await answer.json()
    assert answer.status == status
    assert set(body["error"]) >= {"message", "type", "param", "code"}
    assert answer.headers["X-Request-Id"]
    assert ("Retry-After" in answer.headers) == (status in (429, 503))
    assert len(engine.requests) == 1, "what was sent is not sent again"


async def test_nobody_there_is_503_and_heals_by_itself(
    door: str, engine: VllmDouble, http: aiohttp.ClientSession
) -> None:
    async with engine.refusing(), http.post(f"{door}/v1/chat/completions", json=ASK) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert (await answer.json())["error"]["code"] == "service_unavailable"
    async with asyncio.timeout(10):
        while True:
            async with http.post(f"{door}/v1/chat/completions", json=ASK) as answer:
                if answer.status == 200:
                    break
            await asyncio.sleep(0.05)


async def test_the_sdk_raises_the_matching_exceptions(sdk: AsyncOpenAI, engine: VllmDouble) -> None:
    engine.fail(Fault(kind="status", status=429), Fault(kind="reset"))
    with pytest.raises(RateLimitError):
        await sdk.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(InternalServerError) as broken:
        await sdk.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x"}], stream=True)
    assert broken.value.status_code == 502


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="cut", after=3),
        Fault(kind="reset", after=3),
        Fault(kind="hang", after=3),
        Fault(kind="end", after=3),
        Fault(kind="end", after=-1),
        Fault(kind="garbage", after=3),
        Fault(kind="error", after=3),
    ],
    ids=lambda fault: f"{fault.kind}{fault.after}",
)
async def test_after_the_first_byte_it_is_an_event_and_sdks_raise(
    sdk: AsyncOpenAI, engine: VllmDouble, fault: Fault
) -> None:
    engine.fail(fault)
    stream = await sdk.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "Tell me a story"}], max_tokens=30, stream=True
    )
    text = ""
    with pytest.raises(APIError):
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    whole = await sdk.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "Tell me a story"}], max_tokens=30
    )
    assert text
    assert (whole.choices[0].message.content or "").startswith(text)
    assert len(engine.requests) == 2, "a stream that broke is never asked for again"


async def test_a_stream_asked_for_in_other_words_is_held_to_its_end_all_the_same(
    door: str, engine: VllmDouble, http: aiohttp.ClientSession
) -> None:
    engine.fail(Fault(kind="end", after=3))
    async with http.post(f"{door}/v1/chat/completions", json={**ASK, "stream": 1}) as answer:
        assert b"ended the stream early" in await answer.read()


async def test_an_error_as_the_first_event_is_still_a_status(sdk: AsyncOpenAI, engine: VllmDouble) -> None:
    engine.fail(Fault(kind="error", after=0))
    with pytest.raises(InternalServerError):
        await sdk.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x"}], stream=True)


async def test_a_whole_answer_cut_short_is_never_taken_for_whole(
    door: str, engine: VllmDouble, http: aiohttp.ClientSession
) -> None:
    engine.fail(Fault(kind="cut", after=0))
    with pytest.raises((aiohttp.ClientError, json.JSONDecodeError)):
        async with http.post(f"{door}/v1/chat/completions", json=ASK) as answer:
            json.loads(await answer.read())


@pytest.mark.parametrize(
    ("fault", "stream"),
    [
        (Fault(kind="hang"), True),
        (Fault(kind="hang"), False),
        (Fault(kind="slow", seconds=0.2, after=0), True),
    ],
    ids=["before the first token", "unary", "mid-stream"],
)
async def test_a_client_who_leaves_frees_the_engine(
    door: str, engine: VllmDouble, http: aiohttp.ClientSession, fault: Fault, stream: bool
) -> None:
    engine.fail(fault)
    asking = asyncio.create_task(_read(http, f"{door}/v1/chat/completions", {**ASK, "stream": stream}))
    await engine.until(lambda double: double.running == 1)
    if fault.kind == "slow":
        await asyncio.sleep(0.3)
    asking.cancel()
    async with asyncio.timeout(1):
        await engine.until(lambda double: len(double.aborts) == 1 and not double.running)


async def _read(http: aiohttp.ClientSession, url: str, body: dict[str, object]) -> bytes:
    async with http.post(url, json=body) as answer:
        return await answer.read()
