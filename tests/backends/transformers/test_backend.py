from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from backends.base import EngineSpec, ModelSpec, Progress
from backends.errors import Broken, Invalid, Overloaded, Unavailable, Unsupported
from backends.transformers.backend import LONG, TransformersBackend
from backends.transformers.generation import Generation
from backends.types import Chat, Complete, Delta, Event, Finish, JsonObject, Sampling, Transcribe, Usage
from tests.support import gone

GREEDY = Sampling(temperature=0.0)
FRANCE = "What is the capital of France?"
COUNT = "Count to 50."


def chat(*turns: str, sampling: Sampling = GREEDY) -> Chat:
    """A conversation in which user and assistant take turns."""
    roles = ("user", "assistant")
    messages: tuple[JsonObject, ...] = tuple(
        {"role": roles[number % 2], "content": turn} for number, turn in enumerate(turns)
    )
    return Chat(messages=messages, sampling=sampling)


async def collect(stream: AsyncGenerator[Event, None]) -> list[Event]:
    return [event async for event in stream]


async def answer(backend: TransformersBackend, model: ModelSpec, *turns: str) -> str:
    events = await collect(backend.run(model, chat(*turns)))
    return "".join(event.text for event in events if isinstance(event, Delta))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Generation]:
    """Every pass through a model that began, as the generation that it was for."""
    made: list[Generation] = []
    step = Generation.step

    def counted(self: Generation) -> list[Event]:
        made.append(self)
        return step(self)

    monkeypatch.setattr(Generation, "step", counted)
    return made


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ((FRANCE,), "The capital of France is Paris."),
        ((COUNT,), ", ".join(map(str, range(1, 51))) + "."),
        (("What is 7 plus 8?",), "7 + 8 = 15."),
        (("My name is Anna.", "Nice to meet you, Anna!", "What is my name?"), "Your name is Anna."),
    ],
)
async def test_answers_are_exact(
    backend: TransformersBackend, nano: ModelSpec, turns: tuple[str, ...], expected: str
) -> None:
    assert await answer(backend, nano, *turns) == expected


async def test_a_stream_is_a_delta_a_token_then_finish_then_usage(
    backend: TransformersBackend, nano: ModelSpec
) -> None:
    *deltas, finish, usage = await collect(backend.run(nano, chat(COUNT)))

    assert len(deltas) == 101
    assert finish == Finish(0, "stop")
    assert usage == Usage(prompt_tokens=9, completion_tokens=102)


async def test_usage_counts_all_choices(backend: TransformersBackend, nano: ModelSpec) -> None:
    sampling = replace(GREEDY, n=3, max_tokens=4)

    assert (await collect(backend.run(nano, chat(COUNT, sampling=sampling))))[-1] == Usage(9, 12)


async def test_two_streams_take_turns_token_by_token(
    backend: TransformersBackend, nano: ModelSpec, steps: list[Generation]
) -> None:
    await asyncio.gather(answer(backend, nano, COUNT), answer(backend, nano, COUNT))

    first, second = dict.fromkeys(steps)
    both = steps[steps.index(second) : len(steps) - steps[::-1].index(first)]
    runs = [one for one, following in pairwise(both) if one is not following]
    assert len(steps) == 204
    assert len(runs) > 190


async def test_requests_do_not_disturb_one_another(backend: TransformersBackend, nano: ModelSpec) -> None:
    wild = chat("Tell me a story", sampling=Sampling(temperature=2.0, seed=3, max_tokens=30))
    alone = await collect(backend.run(nano, wild))

    first, calm, second = await asyncio.gather(
        collect(backend.run(nano, wild)), answer(backend, nano, FRANCE), collect(backend.run(nano, wild))
    )

    assert first == second == alone
    assert calm == "The capital of France is Paris."


async def test_who_leaves_midstream_stops_the_steps_and_frees_the_place(
    backend: TransformersBackend, nano: ModelSpec, steps: list[Generation]
) -> None:
    streams = [backend.run(nano, chat(COUNT)) for _ in range(2)]
    for stream in streams:
        await anext(stream)
        await stream.aclose()
    so_far = len(steps)

    assert await answer(backend, nano, FRANCE) == "The capital of France is Paris."
    assert so_far == 2
    assert len(steps) - so_far == 12


async def test_who_is_cancelled_while_a_step_runs_stops_within_that_step(
    backend: TransformersBackend, nano: ModelSpec, steps: list[Generation]
) -> None:
    began = asyncio.Event()

    async def listen() -> None:
        async for _ in backend.run(nano, chat(COUNT)):
            began.set()

    listener = asyncio.create_task(listen())
    await began.wait()
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener
    so_far = len(steps)
    await answer(backend, nano, FRANCE)

    assert len(steps) <= so_far + 1 + 12


async def test_more_than_the_active_wait_and_may_leave(
    backend: TransformersBackend, nano: ModelSpec, steps: list[Generation]
) -> None:
    async with aclosing(backend.run(nano, chat(COUNT))) as first, aclosing(backend.run(nano, chat(COUNT))) as second:
        await anext(first)
        await anext(second)
        impatient = asyncio.create_task(answer(backend, nano, FRANCE))
        patient = asyncio.create_task(answer(backend, nano, FRANCE))
        for _ in range(20):
            await anext(first)
        impatient.cancel()
        await asyncio.wait([impatient])
        for _ in range(20):
            await anext(first)
        assert impatient.cancelled()
        assert len(dict.fromkeys(steps)) == 2
        assert not patient.done()

    assert await patient == "The capital of France is Paris."
    assert len(dict.fromkeys(steps)) == 3


async def test_a_mistake_does_not_wait_for_a_place(backend: TransformersBackend, nano: ModelSpec) -> None:
    async with aclosing(backend.run(nano, chat(COUNT))) as first, aclosing(backend.run(nano, chat(COUNT))) as second:
        await anext(first)
        await anext(second)
        with pytest.raises(Invalid, match="max_tokens is 5000"):
            await collect(backend.run(nano, chat(FRANCE, sampling=replace(GREEDY, max_tokens=5000))))


class Reading:
    """The texts that a tokenizer was given, in order; long ones wait until they may go on."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.go_on = threading.Event()
        self._began = threading.Event()

    def note(self, text: str) -> None:
        self.texts.append(text)
        self._began.set()
        if len(text) > LONG:
            assert self.go_on.wait(5.0)

    async def began(self) -> None:
        assert await asyncio.to_thread(self._began.wait, 5.0)


@pytest.fixture
def reading(backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reading]:
    reading = Reading()
    encode = PreTrainedTokenizerBase.encode

    def noted(self: PreTrainedTokenizerBase, text: str, **options: bool) -> list[int]:
        reading.note(text)
        tokens: list[int] = encode(self, text, **options)
        return tokens

    monkeypatch.setattr(PreTrainedTokenizerBase, "encode", noted)
    yield reading
    reading.go_on.set()


async def test_nobody_waits_for_a_long_prompt_to_be_read(
    backend: TransformersBackend, nano: ModelSpec, reading: Reading
) -> None:
    story = "hello world " * 1500
    long = asyncio.create_task(answer(backend, nano, story))
    await reading.began()

    assert await answer(backend, nano, FRANCE) == "The capital of France is Paris."
    assert len(reading.texts) == 2
    reading.go_on.set()
    with pytest.raises(Invalid, match=r"The prompt has \d+ tokens"):
        await long


async def test_many_prompts_are_read_in_turn_with_others_and_not_for_nobody(
    backend: TransformersBackend, nano: ModelSpec, reading: Reading
) -> None:
    story = "hello world " * 100
    many = asyncio.create_task(collect(backend.run(nano, Complete(prompts=(story,) * 128, sampling=GREEDY))))
    await reading.began()
    one = asyncio.create_task(answer(backend, nano, FRANCE))
    await asyncio.wait([one])
    short = next(number for number, text in enumerate(reading.texts) if text != story)
    many.cancel()
    await asyncio.wait([many])
    so_far = len(reading.texts)
    await answer(backend, nano, FRANCE)

    assert one.result() == "The capital of France is Paris."
    assert short < 10
    assert len(reading.texts) <= so_far + 2


async def test_a_prompt_that_cannot_fit_is_refused_unread(
    backend: TransformersBackend, nano: ModelSpec, reading: Reading
) -> None:
    with pytest.raises(Invalid, match="characters"):
        await answer(backend, nano, "a" * 1_000_000)

    assert reading.texts == []


async def test_a_model_is_loaded_once_and_told_about(nano: ModelSpec) -> None:
    backend = TransformersBackend(EngineSpec(name="here", kind="transformers", device="cpu"))
    told: list[Progress] = []

    await asyncio.gather(*(backend.load(nano, told.append) for _ in range(3)))

    assert told == [Progress("load")]
    assert await answer(backend, nano, FRANCE) == "The capital of France is Paris."
    await backend.close()


async def test_an_unloaded_model_answers_no_more(backend: TransformersBackend, nano: ModelSpec) -> None:
    async with aclosing(backend.run(nano, chat(FRANCE))) as running:
        await anext(running)
        await backend.unload(nano)
        await backend.unload(nano)
        with pytest.raises(Unavailable, match="is not loaded"):
            await answer(backend, nano, FRANCE)
        assert [event async for event in running][-1] == Usage(11, 12)


async def test_an_unloaded_model_gives_its_memory_back(nano: ModelSpec) -> None:
    def networks() -> list[torch.nn.Module]:
        return [thing for thing in gc.get_objects() if type(thing).__name__ == "LlamaForCausalLM"]

    others = networks()
    backend = TransformersBackend(EngineSpec(name="here", kind="transformers", device="cpu"))
    await backend.load(nano, lambda _: None)
    (own,) = [weakref.ref(network) for network in networks() if network not in others]
    await backend.unload(nano)

    await gone(own)
    await backend.close()


async def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    backend = TransformersBackend(EngineSpec(name="here", kind="transformers", device="cpu"))

    with pytest.raises(Unavailable, match="no directory"):
        await backend.load(ModelSpec(source=str(tmp_path / "none")), lambda _: None)
    await backend.close()


async def test_only_text_requests_are_served(backend: TransformersBackend, nano: ModelSpec) -> None:
    with pytest.raises(Unsupported, match="language model"):
        await collect(backend.run(nano, Transcribe(audio=b"")))


@pytest.mark.parametrize(
    ("failure", "error"), [(torch.OutOfMemoryError("CUDA out of memory"), Overloaded), (RuntimeError("boom"), Broken)]
)
async def test_a_failing_model_is_told_in_our_words(
    backend: TransformersBackend,
    nano: ModelSpec,
    monkeypatch: pytest.MonkeyPatch,
    failure: RuntimeError,
    error: type[Exception],
) -> None:
    def step(self: Generation) -> list[Event]:
        raise failure

    with monkeypatch.context() as patch, pytest.raises(error, match=r"^here "):
        patch.setattr(Generation, "step", step)
        await answer(backend, nano, FRANCE)

    assert await answer(backend, nano, FRANCE) == "The capital of France is Paris."


async def test_health_says_whether_the_device_is_there(backend: TransformersBackend) -> None:
    strange = TransformersBackend(EngineSpec(name="here", kind="transformers", device="tpu"))

    assert (await backend.health()).ok
    assert "set it to auto, cpu or cuda" in (await strange.health()).reason
    await strange.close()
