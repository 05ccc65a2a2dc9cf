"""The vLLM double speaks as vLLM does, as the real `openai` SDK hears it, and fails as ordered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import openai
import pytest
from aiohttp import ClientConnectionError, ClientError, ClientPayloadError, ClientSession, ClientTimeout
from openai import AsyncOpenAI

from tests.engines.vllm_double import Fault, Kind, VllmDouble

HELLO = [{"role": "user", "content": "Hello"}]
CHAT = {"model": "nano-chat", "messages": HELLO}
STREAM = {**CHAT, "stream": True}


@pytest.fixture
async def engine() -> AsyncIterator[VllmDouble]:
    async with VllmDouble(replies={"Hello": "Hello to you, too."}) as double:
        yield double


@pytest.fixture
async def sdk(engine: VllmDouble) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def http(engine: VllmDouble) -> AsyncIterator[ClientSession]:
    async with ClientSession(engine.url, timeout=ClientTimeout(total=5)) as session:
        yield session


async def post(http: ClientSession, path: str, body: object, **headers: str) -> tuple[int, bytes]:
    async with http.post(path, json=body, headers=headers) as response:
        return response.status, await response.read()


class TestAnswers:
    async def test_chat(self, sdk: AsyncOpenAI) -> None:
        answer = await sdk.chat.completions.create(model="nano-chat", messages=[{"role": "user", "content": "Hello"}])
        assert answer.choices[0].message.content == "Hello to you, too."
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1, 6)

    async def test_the_same_request_has_the_same_answer(self, http: ClientSession) -> None:
        answers = [await post(http, "/v1/chat/completions", CHAT) for _ in range(2)]
        assert answers[0] == answers[1]

    async def test_a_stream_says_what_the_whole_answer_says(self, sdk: AsyncOpenAI) -> None:
        stream = await sdk.chat.completions.create(
            model="nano-chat",
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello to you, too."
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 6

    async def test_options_that_shape_the_answer(self, sdk: AsyncOpenAI) -> None:
        answer = await sdk.chat.completions.create(
            model="nano-chat",
            messages=[{"role": "user", "content": "Count to 9."}],
            n=2,
            stop=" 5",
            logprobs=True,
            top_logprobs=1,
        )
        assert [choice.message.content for choice in answer.choices] == ["1, 2, 3, 4,"] * 2
        assert answer.choices[0].logprobs is not None
        assert [entry.token for entry in answer.choices[0].logprobs.content or []][:2] == ["1", ","]
        cut = await sdk.completions.create(model="nano-chat", prompt="Count to 9.", max_tokens=3, logprobs=1)
        assert (cut.choices[0].text, cut.choices[0].finish_reason) == ("1, 2", "length")

    async def test_a_named_tool_is_called_with_arguments_of_its_schema(self, sdk: AsyncOpenAI) -> None:
        answer = await sdk.chat.completions.create(
            model="nano-chat",
            messages=[{"role": "user", "content": "Hello"}],
            tools=[
                {
                    "type": "function",
                    "function": {
                        "name": "weather",
                        "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}},
                    },
                }
            ],
            tool_choice={"type": "function", "function": {"name": "weather"}},
        )
        call = (answer.choices[0].message.tool_calls or [])[0]
        assert call.type == "function"
        assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Paris"})

    async def test_completions_number_choices_over_prompts(self, sdk: AsyncOpenAI) -> None:
        stream = await sdk.completions.create(model="nano-chat", prompt=["Hello", "Count to 2."], stream=True)
        texts = {0: "", 1: ""}
        async for chunk in stream:
            texts[chunk.choices[0].index] += chunk.choices[0].text
        assert texts == {0: "Hello to you, too.", 1: "1, 2."}

    async def test_responses(self, sdk: AsyncOpenAI) -> None:
        answer = await sdk.responses.create(model="nano-chat", input="Hello")
        assert answer.output_text == "Hello to you, too."
        stream = await sdk.responses.create(model="nano-chat", input="Hello", stream=True)
        events = [event async for event in stream]
        assert (
            "".join(event.delta for event in events if event.type == "response.output_text.delta") == answer.output_text
        )
        assert events[-1].type == "response.completed"

    async def test_tokenize_and_back(self, http: ClientSession) -> None:
        answer = json.loads((await post(http, "/tokenize", {"prompt": "Hello, you"}))[1])
        assert (answer["count"], answer["max_model_len"]) == (3, 1024)
        assert await post(http, "/detokenize", {"tokens": answer["tokens"]}) == (200, b'{"prompt":"H,y"}')

    async def test_what_vllm_refuses_is_refused_in_its_words(self, sdk: AsyncOpenAI, http: ClientSession) -> None:
        with pytest.raises(openai.NotFoundError, match="The model `other` does not exist"):
            await sdk.chat.completions.create(model="other", messages=[{"role": "user", "content": "Hello"}])
        with pytest.raises(openai.BadRequestError, match="cannot be greater than max_model_len"):
            await sdk.completions.create(model="nano-chat", prompt="Hello", max_tokens=100_000)
        status, body = await post(http, "/v1/chat/completions", {"model": "nano-chat"})
        assert (status, json.loads(body)["error"]["param"]) == (400, "body.messages")
        assert await post(http, "/v1/embeddings", {}) == (404, b'{"detail": "Not Found"}')

    async def test_a_key_is_asked_for_under_v1_only(self) -> None:
        async with VllmDouble(key="secret") as engine, ClientSession(engine.url) as http:
            assert await post(http, "/v1/completions", {}) == (401, b'{"error": "Unauthorized"}')
            assert (await post(http, "/tokenize", {"prompt": "a"}))[0] == 200


class TestRecord:
    async def test_requests_are_kept_with_their_connection(self, engine: VllmDouble, http: ClientSession) -> None:
        for _ in range(2):
            await post(http, "/v1/chat/completions", CHAT, **{"X-Request-Id": "job-1"})
        assert [seen.json for seen in engine.requests] == [CHAT, CHAT]
        assert engine.requests[0].headers["X-Request-Id"] == "job-1"
        assert engine.requests[0].connection == engine.requests[1].connection
        assert engine.aborts == []

    @pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
    async def test_a_client_that_leaves_is_noticed(self, engine: VllmDouble, http: ClientSession, body: object) -> None:
        engine.fail(Fault(kind="hang"))
        request = asyncio.create_task(http.post("/v1/chat/completions", json=body).__aenter__())
        await engine.until(lambda e: e.running == 1)
        request.cancel()
        await engine.until(lambda e: e.running == 0)
        assert [seen.path for seen in engine.aborts] == ["/v1/chat/completions"]

    async def test_a_client_that_leaves_in_the_middle_is_noticed(self, engine: VllmDouble, http: ClientSession) -> None:
        engine.fail(Fault(kind="slow", seconds=0.02))
        async with http.post("/v1/chat/completions", json=STREAM) as response:
            assert (await response.content.readline()).startswith(b"data: {")
            response.close()
        await engine.until(lambda e: len(e.aborts) == 1)


class TestFaults:
    @pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
    @pytest.mark.parametrize("kind", ["reset", "cut", "garbage"])
    async def test_before_the_head(self, engine: VllmDouble, http: ClientSession, kind: Kind, body: object) -> None:
        engine.fail(Fault(kind=kind))
        with pytest.raises(ClientError):
            await post(http, "/v1/chat/completions", body)
        assert engine.aborts == []
        assert (await post(http, "/v1/chat/completions", body))[0] == 200

    @pytest.mark.parametrize("kind", ["reset", "cut"])
    async def test_in_the_middle(self, engine: VllmDouble, http: ClientSession, kind: Kind) -> None:
        engine.fail(Fault(kind=kind, after=3))
        async with http.post("/v1/chat/completions", json=STREAM) as response:
            assert response.status == 200
            with pytest.raises((ClientPayloadError, ClientConnectionError)):
                await response.read()

    async def test_garbage_in_the_middle(self, engine: VllmDouble) -> None:
        engine.fail(Fault(kind="garbage", after=3))
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(engine.url).port)
        body = json.dumps(STREAM).encode()
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: engine\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        answer = await reader.read()
        writer.close()
        assert answer.count(b"data: {") == 3
        assert answer.endswith(b"\r\nzz garbage \x00\xff\r\n\r\n")

    async def test_a_whole_answer_cut_in_half(self, engine: VllmDouble, http: ClientSession) -> None:
        engine.fail(Fault(kind="cut", after=0))
        with pytest.raises(ClientPayloadError):
            await post(http, "/v1/chat/completions", CHAT)

    async def test_an_end_without_done(self, engine: VllmDouble, http: ClientSession) -> None:
        engine.fail(Fault(kind="end", after=-1), Fault(kind="end", after=2))
        _, finished = await post(http, "/v1/chat/completions", STREAM)
        assert b'"finish_reason":"stop"' in finished
        assert b"[DONE]" not in finished
        _, short = await post(http, "/v1/chat/completions", STREAM)
        assert short.count(b"data: ") == 2

    @pytest.mark.parametrize("after", [0, 3])
    async def test_an_error_event_is_raised_by_the_sdk(self, engine: VllmDouble, sdk: AsyncOpenAI, after: int) -> None:
        engine.fail(Fault(kind="error", after=after))
        stream = await sdk.chat.completions.create(
            model="nano-chat", messages=[{"role": "user", "content": "Hello"}], stream=True
        )
        seen = 0
        with pytest.raises(openai.APIError, match="EngineCore failed"):
            async for _ in stream:
                seen += 1
        assert seen == after

    @pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
    async def test_a_status_with_its_body(self, engine: VllmDouble, sdk: AsyncOpenAI, status: int) -> None:
        engine.fail(Fault(kind="status", status=status, headers={"Retry-After": "7"}))
        with pytest.raises(openai.APIStatusError) as caught:
            await sdk.chat.completions.create(model="nano-chat", messages=[{"role": "user", "content": "Hello"}])
        assert caught.value.status_code == status
        assert caught.value.response.headers["Retry-After"] == "7"

    async def test_a_page_instead_of_json(self, engine: VllmDouble, http: ClientSession) -> None:
        engine.fail(Fault(kind="not_json"))
        assert await post(http, "/v1/chat/completions", CHAT) == (200, b"<html>It works!</html>")

    async def test_refusing_connections_for_a_while(self, engine: VllmDouble, http: ClientSession) -> None:
        async with engine.refusing():
            with pytest.raises(ClientConnectionError):
                await post(http, "/v1/chat/completions", CHAT)
        assert (await post(http, "/v1/chat/completions", CHAT))[0] == 200

    async def test_health_says_what_it_is_told(self, engine: VllmDouble, http: ClientSession) -> None:
        for healthy, status in ((True, 200), (False, 503)):
            engine.healthy = healthy
            async with http.get("/health") as response:
                assert response.status == status
