"""Models that read with an encoder and write with a decoder: every answer is the one that transformers makes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import torch

from backends.base import EngineSpec, ModelSpec
from backends.errors import Invalid
from backends.inprocess import turns
from backends.transformers.backend import TransformersBackend
from backends.transformers.encoder_decoder import EncoderDecoder
from backends.transformers.loading import load
from backends.transformers.prompts import completion_tokens
from backends.types import Chat, Complete, Delta, Event, Finish, JsonObject, Request, Sampling, Usage

PROMPT = "What is the capital of France?"
KINDS = ["t5", "bart", "blenderbot", "marian", "pegasus"]
GREEDY = Sampling(temperature=0.0, max_tokens=20)


@pytest.fixture
async def backend() -> AsyncIterator[TransformersBackend]:
    backend = TransformersBackend(EngineSpec(name="here", kind="transformers", device="cpu"))
    yield backend
    await backend.close()


async def answer(backend: TransformersBackend, directory: Path, request: Request) -> list[Event]:
    model = ModelSpec(source=str(directory))
    await backend.load(model, lambda _: None)
    async with asyncio.timeout(60):
        return [event async for event in backend.run(model, request)]


def configure(directory: Path, **settings: object) -> None:
    """Change the model's generation_config."""
    file = directory / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def text(events: list[Event], index: int = 0) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta) and event.index == index)


async def expected(directory: Path, prompt: str, most: int, **options: float) -> str:
    """What transformers' own generate writes."""
    return await asyncio.to_thread(_generated, directory, prompt, most, **options)


def _generated(directory: Path, prompt: str, most: int, **options: float) -> str:
    model = load(directory, device="cpu", compute_type="default")
    assert isinstance(model, EncoderDecoder)
    ids = torch.tensor([completion_tokens(prompt, model.tokenizer, model.vocabulary)])
    made = model.network.generate(
        ids, max_new_tokens=most, do_sample=False, num_beams=1, forced_eos_token_id=None, **options
    )
    return model.decode(made[0].tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("penalty", [1.0, 1.5])
async def test_an_answer_is_transformers_own(
    kind: str, penalty: float, backend: TransformersBackend, random_model: Callable[[str], Path]
) -> None:
    directory = random_model(kind)
    sampling = Sampling(temperature=0.0, max_tokens=20, repetition_penalty=penalty)
    events = await answer(backend, directory, Complete(prompts=(PROMPT,), sampling=sampling))
    assert text(events) == await expected(directory, PROMPT, 20, repetition_penalty=penalty)
    assert text(events)
    assert isinstance(events[-1], Usage)
    assert events[-1].prompt_tokens > 3


async def test_an_answer_begins_with_the_token_that_it_has_to(
    backend: TransformersBackend, random_model: Callable[[str], Path]
) -> None:
    directory = random_model("bart")
    configure(directory, forced_bos_token_id=40)
    events = await answer(backend, directory, Complete(prompts=(PROMPT,), sampling=GREEDY))
    told = await expected(directory, PROMPT, 21)
    assert told.endswith(text(events))
    assert len(told) > len(text(events)) > 0


async def test_several_answers_to_several_prompts(
    backend: TransformersBackend, random_model: Callable[[str], Path]
) -> None:
    directory = random_model("marian")
    prompts = (PROMPT, "Count to 50.")
    events = await answer(
        backend, directory, Complete(prompts=prompts, sampling=Sampling(temperature=0.0, max_tokens=9, n=3))
    )
    assert [text(events, index) for index in range(6)] == [
        await expected(directory, prompt, 9) for prompt in prompts for _ in range(3)
    ]


async def test_some_answers_end_before_others(
    backend: TransformersBackend, random_model: Callable[[str], Path]
) -> None:
    sampling = Sampling(max_tokens=40, n=5, seed=3, stop=("e",))
    events = await answer(backend, random_model("bart"), Complete(prompts=(PROMPT,), sampling=sampling))
    ends = [event for event in events if isinstance(event, Finish)]
    assert sorted(end.index for end in ends) == list(range(5))


async def test_conversations_are_read_turn_by_turn(
    backend: TransformersBackend, random_model: Callable[[str], Path]
) -> None:
    directory = random_model("blenderbot")
    messages: tuple[JsonObject, ...] = (
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
        {"role": "user", "content": "he"},
    )
    events = await answer(backend, directory, Chat(messages=messages, sampling=GREEDY))
    assert text(events) == await expected(directory, "hi  ho  he", 20)


async def test_a_model_that_names_who_speaks_is_stopped_at_the_others_turn(
    backend: TransformersBackend, random_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = random_model("gpt2")
    asked = Chat(messages=({"role": "user", "content": "hi"},), sampling=GREEDY)
    whole = text(await answer(backend, directory, asked))
    monkeypatch.setitem(turns.STOPS, "named", (whole[3:6],))
    assert text(await answer(backend, directory, asked)) == whole[: whole.index(whole[3:6])]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Complete(prompts=("a " * 200,)), "reads at most 128"),
        (Complete(prompts=("a",), sampling=Sampling(max_tokens=128)), "from 1 to 127 tokens"),
        (Complete(prompts=("a",), sampling=Sampling(max_tokens=0)), "from 1 to 127 tokens"),
    ],
)
async def test_what_does_not_fit_is_told(
    request_: Complete, words: str, backend: TransformersBackend, random_model: Callable[[str], Path]
) -> None:
    with pytest.raises(Invalid, match=words):
        await answer(backend, random_model("marian"), request_)


async def test_an_answer_may_be_as_long_as_the_model_writes(
    backend: TransformersBackend, random_model: Callable[[str], Path]
) -> None:
    prompt = Complete(prompts=(PROMPT,), sampling=Sampling(temperature=0.0))
    events = await answer(backend, random_model("marian"), prompt)
    assert isinstance(events[-1], Usage)
    assert events[-1].completion_tokens <= 127


async def test_tokens_that_are_no_words_are_never_written(
    backend: TransformersBackend, random_model: Callable[[str], Path]
) -> None:
    directory = random_model("marian")
    model = await asyncio.to_thread(load, directory, device="cpu", compute_type="default")
    asked = Complete(prompts=(PROMPT,), sampling=GREEDY)
    first = model.tokenizer.encode(text(await answer(backend, directory, asked)), add_special_tokens=False)[0]
    configure(directory, bad_words_ids=[[first], [5, 6]])
    again = await asyncio.to_thread(load, directory, device="cpu", compute_type="default")
    assert isinstance(again, EncoderDecoder)
    assert again.never == (first,)
    logits, _ = again.forward([[5, 6, 7]], None)
    assert logits[0, first] == -torch.inf
