"""What TGI's own clients expect of a TGI, to be asked of this door before any engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

import aiohttp
import pytest
import text_generation
from huggingface_hub import AsyncInferenceClient, InferenceClient, close_session
from text_generation.types import FinishReason, Response


@dataclass(frozen=True, slots=True)
class Tgi:
    """Where to knock. prompt: what is continued with five words or more; ids: whether the engine tells those of tokens."""

    url: str
    prompt: str
    ids: bool = True

    def client(self) -> text_generation.AsyncClient:
        """TGI's own client."""
        return text_generation.AsyncClient(self.url, timeout=60)


async def as_prompt(url: str, question: str) -> str:
    """The question as the model's chat template writes it: what a client of TGI sends to continue."""
    body = {"messages": [{"role": "user", "content": question}]}
    async with aiohttp.ClientSession() as client, client.post(f"{url}/chat_tokenize", json=body) as response:
        assert response.status == 200, await response.text()
        written: str = (await response.json())["templated_text"]
    return written


Check: TypeAlias = Callable[[Tgi], Awaitable[None]]


async def sync_client(door: Tgi) -> None:
    """The client that blocks: a whole answer and the same as a stream."""

    def ask() -> tuple[Response, str, str | None]:
        client = text_generation.Client(door.url, timeout=60)
        whole = client.generate(door.prompt, max_new_tokens=6)
        events = list(client.generate_stream(door.prompt, max_new_tokens=6))
        assert all(event.details is None and event.generated_text is None for event in events[:-1])
        assert events[-1].details is not None
        assert events[-1].details.generated_tokens == whole.details.generated_tokens
        text = "".join(event.token.text for event in events if not event.token.special)
        return whole, text, events[-1].generated_text

    whole, streamed, told = await asyncio.to_thread(ask)
    assert whole.generated_text
    assert streamed == told == whole.generated_text
    assert whole.details.prefill == []
    assert whole.details.seed is None


async def tokens_are_told(door: Tgi) -> None:
    """Each token with its logarithm and, where the engine tells it, its id; together they are the text."""
    answer = await door.client().generate(door.prompt, max_new_tokens=5)
    assert answer.details.finish_reason is FinishReason.Length
    assert answer.details.generated_tokens == len(answer.details.tokens) == 5
    assert "".join(token.text for token in answer.details.tokens) == answer.generated_text
    assert all(token.logprob is not None and token.logprob <= 0 for token in answer.details.tokens)
    assert all((token.id >= 0) is door.ids for token in answer.details.tokens)


async def stream(door: Tgi) -> None:
    """An event for each token, numbered from one, the last with the whole; the likeliest tokens in each place."""
    events = [event async for event in door.client().generate_stream(door.prompt, max_new_tokens=5, top_n_tokens=2)]
    assert len(events) == 5
    assert [len(event.top_tokens or ()) for event in events] == [2] * 5
    assert events[-1].details is not None
    assert events[-1].details.finish_reason is FinishReason.Length
    assert events[-1].generated_text == "".join(event.token.text for event in events)


async def stop_sequence(door: Tgi) -> None:
    """The sequence that ends an answer is the end of its text, as TGI has it, whole and streamed."""
    client = door.client()
    longer = (await client.generate(door.prompt, max_new_tokens=5)).generated_text
    word = longer.split()[1]
    expected = longer[: longer.index(word) + len(word)]
    answer = await client.generate(door.prompt, max_new_tokens=50, stop_sequences=[word])
    assert (answer.generated_text, answer.details.finish_reason) == (expected, FinishReason.StopSequence)
    events = [event async for event in client.generate_stream(door.prompt, max_new_tokens=50, stop_sequences=[word])]
    assert events[-1].details is not None
    assert events[-1].details.finish_reason is FinishReason.StopSequence
    assert events[-1].generated_text == "".join(event.token.text for event in events) == expected


async def full_text(door: Tgi) -> None:
    """The prompt stands before its continuation when that is asked for."""
    client = door.client()
    answer = await client.generate(door.prompt, max_new_tokens=3)
    full = await client.generate(door.prompt, max_new_tokens=3, return_full_text=True)
    assert full.generated_text == door.prompt + answer.generated_text


async def best_of(door: Tgi) -> None:
    """The likeliest of two, and the other in its details."""
    answer = await door.client().generate(door.prompt, max_new_tokens=4, do_sample=True, best_of=2)
    others = answer.details.best_of_sequences
    assert others is not None
    assert len(others) == 1
    assert _mean(answer.details.tokens) >= _mean(others[0].tokens)


async def seeds(door: Tgi) -> None:
    """A seed makes drawing repeatable, and is told."""
    ask = {"max_new_tokens": 4, "do_sample": True, "seed": 7}
    first, second = [await door.client().generate(door.prompt, **ask) for _ in range(2)]
    assert first.generated_text == second.generated_text
    assert first.details.seed == 7


async def refused(door: Tgi) -> None:
    """What cannot be done is refused by name, whole and in a stream."""
    with pytest.raises(text_generation.errors.ValidationError, match="`watermark`"):
        await door.client().generate(door.prompt, watermark=True)
    with pytest.raises(text_generation.errors.ValidationError, match="`watermark`"):
        await anext(door.client().generate_stream(door.prompt, watermark=True))


async def hub_client(door: Tgi) -> None:
    """huggingface_hub's client with the door's address as its model."""

    def ask() -> None:
        client = InferenceClient(model=door.url, timeout=60)
        plain = client.text_generation(door.prompt, max_new_tokens=5)
        assert plain
        full = client.text_generation(door.prompt, max_new_tokens=5, details=True)
        assert full.generated_text == plain
        assert full.details is not None
        assert (full.details.finish_reason, len(full.details.tokens)) == ("length", 5)
        assert "".join(client.text_generation(door.prompt, max_new_tokens=5, stream=True)) == plain
        events = list(client.text_generation(door.prompt, max_new_tokens=5, stream=True, details=True))
        assert events[-1].generated_text == plain
        assert events[-1].details is not None
        assert events[-1].details.generated_tokens == 5
        assert events[-1].details.input_length > 0
        endpoint = InferenceClient(model=door.url, provider="hf-inference", timeout=60)
        assert endpoint.get_endpoint_info()["model_id"]
        assert endpoint.health_check()

    try:
        await asyncio.to_thread(ask)
    finally:
        close_session()


async def hub_async_client(door: Tgi) -> None:
    """The same, not blocking."""
    async with AsyncInferenceClient(base_url=door.url, timeout=60) as client:
        plain = await client.text_generation(door.prompt, max_new_tokens=5)
        pieces = await client.text_generation(door.prompt, max_new_tokens=5, stream=True)
        async with aclosing(pieces):
            assert "".join([piece async for piece in pieces]) == plain


def _mean(tokens: list[text_generation.types.Token]) -> float:
    told: list[float] = [token.logprob for token in tokens if token.logprob is not None]
    return sum(told) / len(told)


CHECKS: tuple[Check, ...] = (
    sync_client,
    tokens_are_told,
    stream,
    stop_sequence,
    full_text,
    best_of,
    seeds,
    refused,
    hub_client,
    hub_async_client,
)
