"""Chat and completions in front of an engine of the same dialect: bytes in, bytes out."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from openai import AsyncOpenAI, BadRequestError, OpenAI

from tests.engines.vllm_double import Fault, VllmDouble

ASK = {"messages": [{"role": "user", "content": "Say ünïcode and more."}], "max_tokens": 12}


async def test_sdk_unary_and_stream_say_the_same(sdk: AsyncOpenAI) -> None:
    whole = await sdk.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=9)
    stream = await sdk.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "hi"}],
        max_tokens=9,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == whole.choices[0].message.content != ""
    assert chunks[-1].usage == whole.usage
    assert whole.usage is not None and whole.usage.completion_tokens > 0


async def test_the_synchronous_sdk(door: str) -> None:
    def ask() -> tuple[str | None, str]:
        with OpenAI(base_url=f"{door}/v1", api_key="unused", max_retries=0) as client:
            whole = client.completions.create(model="tiny", prompt="Once", max_tokens=8)
            stream = client.completions.create(model="tiny", prompt="Once", max_tokens=8, stream=True)
            return whole.choices[0].text, "".join(chunk.choices[0].text for chunk in stream if chunk.choices)

    whole, streamed = await asyncio.to_thread(ask)
    assert whole == streamed != ""


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_are_the_engines_very_bytes(
    door: str, engine: VllmDouble, http: aiohttp.ClientSession, stream: bool
) -> None:
    body = json.dumps({"model": engine.model, "x_unknown": {"deep": [1.50, "é"]}, "stream": stream, **ASK})
    headers = {"Content-Type": "application/json", "X-Request-Id": "same-id"}
    async with http.post(f"{engine.url}/v1/chat/completions", data=body, headers=headers) as direct:
        expected = await direct.read()
    renamed = body.replace(engine.model, "org/tiny-alias", 1)
    async with http.post(f"{door}/v1/chat/completions", data=renamed, headers=headers) as relayed:
        assert await relayed.read() == expected
        assert relayed.status == 200
        assert relayed.headers["X-Request-Id"] == "same-id"
    direct_body, relayed_body = (seen.body for seen in engine.requests)
    assert relayed_body == direct_body, "only the model's name may change on the way"


async def test_streams_are_marked_for_proxies_on_the_way(door: str, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{door}/v1/chat/completions", json={"model": "tiny", "stream": True, **ASK}) as answer:
        assert answer.content_type == "text/event-stream"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["Cache-Control"] == "no-cache"
        assert len(answer.headers["X-Request-Id"]) == 32
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")


async def test_what_the_engine_gets_to_see(door: str, engine: VllmDouble, http: aiohttp.ClientSession) -> None:
    headers = {
        "Authorization": "Bearer the-clients-own",
        "Cookie": "a=b",
        "X-Forwarded-For": "1.2.3.4",
        "X-Data-Parallel-Rank": "3",
        "X-Session-Id": "s-1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    async with http.post(f"{door}/v1/chat/completions", json={"model": "tiny", **ASK}, headers=headers) as answer:
        assert answer.status == 200
    seen = {name.lower(): value for name, value in engine.requests[0].headers.items()}
    assert seen["x-session-id"] == "s-1"
    assert seen["traceparent"].startswith("00-")
    assert seen["x-request-id"] == answer.headers["X-Request-Id"]
    assert not seen.keys() & {"authorization", "cookie", "x-forwarded-for", "x-data-parallel-rank"}


async def test_a_rejection_of_the_engine_passes_untouched(sdk: AsyncOpenAI, engine: VllmDouble) -> None:
    engine.fail(Fault(kind="status", status=400))
    with pytest.raises(BadRequestError) as refused:
        await sdk.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x"}])
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["code"] == 400, "vLLM's own body has an int there; ours has words"


async def test_neighbours_are_relayed_too(door: str, engine: VllmDouble, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{door}/tokenize", json={"model": "tiny", "prompt": "one two"}) as answer:
        tokens = (await answer.json())["tokens"]
    async with http.post(f"{door}/detokenize", json={"model": "tiny", "tokens": tokens}) as answer:
        assert (await answer.json())["prompt"]
    asked = {"model": "tiny", "input": "hi", "stream": True}
    async with http.post(f"{door}/v1/responses", json=asked) as answer:
        assert b"response.completed" in await answer.read()
    assert [seen.path for seen in engine.requests] == ["/tokenize", "/detokenize", "/v1/responses"]


async def test_what_the_engine_has_not_is_404_in_openais_shape(door: str, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{door}/v1/embeddings", json={"model": "tiny", "input": "x"}) as answer:
        body = await answer.json()
    assert answer.status == 404
    assert body["error"]["type"] == "invalid_request_error"
    assert set(body["error"]) == {"message", "type", "param", "code"}


async def test_fifty_streams_at_once_stay_apart(sdk: AsyncOpenAI) -> None:
    async def ask(number: int) -> tuple[str, str]:
        prompt = f"Story number {number}"
        whole = await sdk.completions.create(model="tiny", prompt=prompt, max_tokens=20)
        stream = await sdk.completions.create(model="tiny", prompt=prompt, max_tokens=20, stream=True)
        return whole.choices[0].text, "".join([chunk.choices[0].text async for chunk in stream if chunk.choices])

    answers = await asyncio.gather(*(ask(number) for number in range(50)))
    assert all(whole == streamed for whole, streamed in answers)
    assert len({whole for whole, _ in answers}) > 1
