"""The proxy in front of a real vLLM: OpenAI's contract through OpenAI's SDK, and what vLLM sees of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import openai
import pytest
from aiohttp import ClientSession, ClientTimeout
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionToolParam

from backends.types import JsonObject
from tests.engines.real_vllm import CHAT, MAX_MODEL_LEN, SERVED_AS, SLOTS, RealVllm
from tests.engines.sdk_checks import CHECKS, Check, Door

# Long, because the first test waits for vLLM to start, and its sampler compiles itself at the first logprobs.
pytestmark = [pytest.mark.engines, pytest.mark.timeout(400)]

GONE_WITHIN = 1.0
POLL_SECONDS = 0.05
LONG: JsonObject = {"model": "chat", "prompt": "Hello", "max_tokens": 1900, "ignore_eos": True}
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
# vLLM's benchmark, without its command line, which asks for the version of a distribution named vllm.
BENCH_SERVE = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


@pytest.fixture
async def sdk(door: Door) -> AsyncIterator[AsyncOpenAI]:
    async with door.client() as client:
        yield client


@pytest.fixture
async def http(door: Door) -> AsyncIterator[ClientSession]:
    async with ClientSession(door.base_url.removesuffix("/v1"), timeout=ClientTimeout(total=60)) as session:
        yield session


async def post(http: ClientSession, path: str, body: JsonObject) -> tuple[int, JsonObject]:
    async with http.post(path, json=body) as response:
        return response.status, await response.json()


async def until(true: Callable[[], bool], within: float) -> None:
    """Wait for a fact about vLLM, asked of its metrics; not in a tight loop, which would keep it from its work."""
    deadline = time.monotonic() + within
    while not await asyncio.to_thread(true):
        assert time.monotonic() < deadline, f"not so within {within:g} s"
        await asyncio.sleep(POLL_SECONDS)


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
async def test_the_sdk_finds_what_openai_promises(door: Door, check: Check) -> None:
    await check(door)


class TestPassedThrough:
    """What vLLM can do, its clients can do: fields that the proxy does not know among them."""

    @pytest.mark.parametrize("choice", ["named", "required"])
    async def test_tool_calls(self, door: Door, sdk: AsyncOpenAI, choice: str) -> None:
        answer = await sdk.chat.completions.create(
            model=door.model,
            messages=door.messages,
            temperature=0,
            tools=[WEATHER],
            tool_choice="required"
            if choice == "required"
            else {"type": "function", "function": {"name": "get_weather"}},
        )
        call = (answer.choices[0].message.tool_calls or [])[0]
        assert call.type == "function"
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments)["city"] in {"Paris", "Rome"}

    async def test_streamed_tool_calls(self, door: Door, sdk: AsyncOpenAI) -> None:
        stream = await sdk.chat.completions.create(
            model=door.model,
            messages=door.messages,
            temperature=0,
            tools=[WEATHER],
            tool_choice={"type": "function", "function": {"name": "get_weather"}},
            stream=True,
        )
        name, arguments = "", ""
        async for chunk in stream:
            for call in chunk.choices[0].delta.tool_calls or []:
                assert call.function is not None
                name += call.function.name or ""
                arguments += call.function.arguments or ""
        assert name == "get_weather"
        assert json.loads(arguments)["city"] in {"Paris", "Rome"}

    async def test_a_json_schema(self, door: Door, sdk: AsyncOpenAI) -> None:
        answer = await sdk.chat.completions.create(
            model=door.model,
            messages=door.messages,
            temperature=0,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "city", "schema": WEATHER["function"]["parameters"]},
            },
        )
        assert json.loads(answer.choices[0].message.content or "")["city"] in {"Paris", "Rome"}

    async def test_fields_of_vllm_alone_work_and_unknown_ones_do_no_harm(self, door: Door, sdk: AsyncOpenAI) -> None:
        answer = await sdk.chat.completions.create(
            model=door.model,
            messages=door.messages,
            temperature=0,
            extra_body={"return_token_ids": True, "x_unknown": {"deep": [1]}},
        )
        assert answer.choices[0].message.content == door.answer
        ids = (answer.choices[0].model_extra or {})["token_ids"]
        assert answer.usage is not None
        assert len(ids) == answer.usage.completion_tokens

    async def test_the_request_id_reaches_vllm_and_comes_back(self, door: Door, sdk: AsyncOpenAI) -> None:
        raw = await sdk.chat.completions.with_raw_response.create(
            model=door.model, messages=door.messages, max_tokens=1, extra_headers={"X-Request-Id": "job-7"}
        )
        assert raw.headers["X-Request-Id"] == "job-7"
        assert raw.parse().id == "chatcmpl-job-7"

    async def test_tokenize_and_back(self, door: Door, http: ClientSession) -> None:
        status, tokens = await post(http, "/tokenize", {"model": door.model, "prompt": "Hello there"})
        assert (status, tokens["count"]) == (200, 2)
        body: JsonObject = {"model": door.model, "tokens": tokens["tokens"]}
        assert await post(http, "/detokenize", body) == (200, {"prompt": "Hello there"})

    async def test_responses(self, door: Door, sdk: AsyncOpenAI) -> None:
        whole = await sdk.responses.create(model=door.model, input=door.question, temperature=0)
        stream = await sdk.responses.create(model=door.model, input=door.question, temperature=0, stream=True)
        events = [event async for event in stream]
        assert whole.output_text == door.answer
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == door.answer
        assert events[-1].type == "response.completed"


class TestRefused:
    async def test_a_prompt_that_is_too_long(self, door: Door, sdk: AsyncOpenAI) -> None:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match=str(MAX_MODEL_LEN)):
                await sdk.completions.create(
                    model=door.model, prompt="Hello there " * MAX_MODEL_LEN, max_tokens=1, stream=stream
                )

    async def test_vllms_own_words_pass_untouched(self, door: Door, vllm: RealVllm, http: ClientSession) -> None:
        body: JsonObject = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100_000}
        async with ClientSession() as direct:
            theirs = await post(direct, f"{vllm.url}/v1/chat/completions", {**body, "model": SERVED_AS})
        assert await post(http, "/v1/chat/completions", {**body, "model": door.model}) == theirs
        assert theirs[0] == 400

    async def test_what_this_vllm_has_not_is_404_in_openais_shape(self, door: Door, sdk: AsyncOpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            await sdk.embeddings.create(model=door.model, input="Hello")
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["message"]
        assert caught.value.body["type"]

    @pytest.mark.parametrize("path", ["/invocations", "/sleep", "/v1/load_lora_adapter", "/server_info"])
    async def test_what_is_not_on_the_list_never_reaches_vllm(self, door: Door, http: ClientSession, path: str) -> None:
        status, _ = await post(http, path, {"model": door.model, "prompt": "Hello"})
        assert status == 404


class TestClientGone:
    """A client that leaves frees its place in vLLM within a second."""

    @pytest.fixture(autouse=True)
    async def idle(self, vllm: RealVllm) -> AsyncIterator[None]:
        await until(lambda: vllm.gauge("num_requests_running") == 0, 10)
        yield
        await until(lambda: vllm.gauge("num_requests_running") == 0, 30)

    async def test_in_the_middle_of_a_stream(self, vllm: RealVllm, http: ClientSession) -> None:
        async with http.post("/v1/completions", json={**LONG, "stream": True}) as response:
            assert (await response.content.readline()).startswith(b"data: {")
            assert vllm.gauge("num_requests_running") == 1
            response.close()
        await until(lambda: vllm.gauge("num_requests_running") == 0, GONE_WITHIN)

    async def test_while_a_whole_answer_is_made(self, vllm: RealVllm, http: ClientSession) -> None:
        request = asyncio.create_task(post(http, "/v1/completions", LONG))
        await until(lambda: vllm.gauge("num_requests_running") == 1, 5)
        request.cancel()
        await until(lambda: vllm.gauge("num_requests_running") == 0, GONE_WITHIN)

    async def test_before_the_first_token(self, vllm: RealVllm, http: ClientSession) -> None:
        running = [asyncio.create_task(post(http, "/v1/completions", LONG)) for _ in range(SLOTS)]
        await until(lambda: vllm.gauge("num_requests_running") == SLOTS, 5)
        queued = asyncio.create_task(post(http, "/v1/completions", {**LONG, "stream": True}))
        await until(lambda: vllm.gauge("num_requests_waiting") == 1, 5)
        queued.cancel()
        await until(lambda: vllm.gauge("num_requests_waiting") == 0, GONE_WITHIN)
        assert vllm.gauge("num_requests_running") == SLOTS
        for request in running:
            request.cancel()
        await until(lambda: vllm.gauge("num_requests_running") == 0, GONE_WITHIN)


async def test_vllms_own_benchmark_runs_clean(door: Door, vllm: RealVllm, tmp_path: Path) -> None:
    options = {
        "--backend": "openai-chat",
        "--base-url": door.base_url.removesuffix("/v1"),
        "--endpoint": "/v1/chat/completions",
        "--model": door.model,
        "--tokenizer": str(CHAT),
        "--dataset-name": "random",
        "--random-input-len": "16",
        "--random-output-len": "24",
        "--num-prompts": "96",
        "--max-concurrency": "8",
        "--result-dir": str(tmp_path),
        "--result-filename": "result.json",
    }
    arguments = [part for option in options.items() for part in option]
    done = await asyncio.to_thread(vllm.run, ["-c", BENCH_SERVE, *arguments, "--save-result"], 180)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["completed"], result["failed"]) == (96, 0)
    assert result["total_output_tokens"] >= 96
