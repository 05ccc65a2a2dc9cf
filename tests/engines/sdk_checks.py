"""What every text model must do as the real `openai` SDK hears it, whatever the engine behind the door."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionUserMessageParam


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where to knock. answer: what the model says to `question` at temperature 0, four words or more."""

    base_url: str
    model: str
    question: str = "What is the capital of France?"
    answer: str = "The capital of France is Paris."
    key: str = "none"

    @property
    def messages(self) -> list[ChatCompletionUserMessageParam]:
        """The question, as messages."""
        return [{"role": "user", "content": self.question}]

    def client(self) -> AsyncOpenAI:
        """The SDK as an application would make it, without its retries: they would hide failures."""
        return AsyncOpenAI(base_url=self.base_url, api_key=self.key, max_retries=0, timeout=60)


async def chat(door: Door) -> None:
    """A whole answer, word for word."""
    async with door.client() as sdk:
        answer = await sdk.chat.completions.create(model=door.model, messages=door.messages, temperature=0)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == door.answer
    assert answer.choices[0].finish_reason == "stop"
    _check_usage(answer.usage)


async def chat_stream(door: Door) -> None:
    """The same answer in pieces: more than one of them, in order, with its end told."""
    async with door.client() as sdk:
        stream = await sdk.chat.completions.create(model=door.model, messages=door.messages, temperature=0, stream=True)
        chunks = [chunk async for chunk in stream]
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == door.answer
    assert len([piece for piece in pieces if piece]) > 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


async def chat_stream_usage(door: Door) -> None:
    """With `include_usage` the last chunk has no choices and counts what the whole answer counts."""
    async with door.client() as sdk:
        whole = await sdk.chat.completions.create(model=door.model, messages=door.messages, temperature=0)
        stream = await sdk.chat.completions.create(
            model=door.model,
            messages=door.messages,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    _check_usage(chunks[-1].usage)
    assert whole.usage is not None
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


async def chat_without_asyncio(door: Door) -> None:
    """The synchronous client, whole and streamed."""

    def ask() -> tuple[str | None, str]:
        with OpenAI(base_url=door.base_url, api_key=door.key, max_retries=0, timeout=60) as sdk:
            whole = sdk.chat.completions.create(model=door.model, messages=door.messages, temperature=0)
            stream = sdk.chat.completions.create(model=door.model, messages=door.messages, temperature=0, stream=True)
            pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        return whole.choices[0].message.content, "".join(pieces)

    assert await asyncio.to_thread(ask) == (door.answer, door.answer)


async def chat_cut_by_max_tokens(door: Door) -> None:
    """`max_tokens` ends an answer early, and says so."""
    async with door.client() as sdk:
        answer = await sdk.chat.completions.create(
            model=door.model, messages=door.messages, temperature=0, max_tokens=2
        )
    content = answer.choices[0].message.content or ""
    assert door.answer.startswith(content.strip())
    assert 0 < len(content) < len(door.answer)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2


async def chat_stopped(door: Door) -> None:
    """A stop string, alone or in a list, ends the answer before it and is not part of it."""
    first, second = door.answer.split()[:2]
    async with door.client() as sdk:
        for stop in (second, [second, "never said"]):
            answer = await sdk.chat.completions.create(
                model=door.model, messages=door.messages, temperature=0, stop=stop
            )
            assert (answer.choices[0].message.content or "").strip() == first
            assert answer.choices[0].finish_reason == "stop"


async def chat_with_choices(door: Door) -> None:
    """`n` answers, numbered, whole and streamed."""
    async with door.client() as sdk:
        whole = await sdk.chat.completions.create(model=door.model, messages=door.messages, temperature=0.05, n=2)
        stream = await sdk.chat.completions.create(
            model=door.model, messages=door.messages, temperature=0.05, n=2, stream=True
        )
        texts = {0: "", 1: ""}
        async for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
    assert [(choice.index, choice.message.content) for choice in whole.choices] == [(0, door.answer), (1, door.answer)]
    assert texts == {0: door.answer, 1: door.answer}


async def chat_seeded(door: Door) -> None:
    """The same seed samples the same answer."""
    async with door.client() as sdk:
        answers = [
            await sdk.chat.completions.create(
                model=door.model, messages=door.messages, temperature=1.5, seed=7, max_tokens=16
            )
            for _ in range(2)
        ]
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content


async def chat_logprobs(door: Door) -> None:
    """A log-probability for each token, whose texts join to the answer."""
    async with door.client() as sdk:
        answer = await sdk.chat.completions.create(
            model=door.model, messages=door.messages, temperature=0, logprobs=True, top_logprobs=2, max_tokens=4
        )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    tokens = logprobs.content or []
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    assert len(tokens) == 4
    for token in tokens:
        assert token.logprob <= 0
        assert 1 <= len(token.top_logprobs) <= 2
        assert max(top.logprob for top in token.top_logprobs) >= token.logprob


async def completion(door: Door) -> None:
    """A plain completion says the same whole and streamed, and counts its tokens."""
    async with door.client() as sdk:
        whole = await sdk.completions.create(model=door.model, prompt="Hello", temperature=0, max_tokens=6)
        stream = await sdk.completions.create(
            model=door.model, prompt="Hello", temperature=0, max_tokens=6, stream=True
        )
        text = "".join([chunk.choices[0].text async for chunk in stream if chunk.choices])
    assert whole.choices[0].text == text != ""
    assert whole.choices[0].finish_reason in {"stop", "length"}
    _check_usage(whole.usage)


async def models(door: Door) -> None:
    """The model is listed, and found by its id."""
    async with door.client() as sdk:
        listed = [model.id async for model in sdk.models.list()]
        found = await sdk.models.retrieve(door.model)
    assert door.model in listed
    assert found.id == door.model


async def unknown_model(door: Door) -> None:
    """A name that nobody serves is 404 `model_not_found`, with a request id to ask about."""
    async with door.client() as sdk:
        with pytest.raises(openai.NotFoundError) as caught:
            await sdk.chat.completions.create(model="no-such-model", messages=door.messages)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert caught.value.request_id


async def wrong_temperature(door: Door) -> None:
    """A value that no engine takes is 400 in OpenAI's shape, streamed or not."""
    async with door.client() as sdk:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match="temperature"):
                await sdk.chat.completions.create(
                    model=door.model, messages=door.messages, temperature=-1, stream=stream
                )


Check = Callable[[Door], Awaitable[None]]

CHECKS: tuple[Check, ...] = (
    chat,
    chat_stream,
    chat_stream_usage,
    chat_without_asyncio,
    chat_cut_by_max_tokens,
    chat_stopped,
    chat_with_choices,
    chat_seeded,
    chat_logprobs,
    completion,
    models,
    unknown_model,
    wrong_temperature,
)


def _check_usage(usage: CompletionUsage | None) -> None:
    assert usage is not None
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
