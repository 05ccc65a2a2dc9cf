from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.errors import Invalid
from backends.transformers.loading import load
from backends.transformers.model import Model
from backends.transformers.options import settle
from backends.transformers.plan import Plan, read_prompt, write_prompt
from backends.types import Chat, Complete, Delta, Event, Finish, Sampling, TokenLogprob

GREEDY = Sampling(temperature=0.0)
QUESTIONS = (
    "What is the capital of France?",
    "Count to 50.",
    "hi",
    "What is 7 plus 8?",
    "Repeat after me: the quick brown fox",
    "How do I fix my bicycle?",
)


def chat(question: str, sampling: Sampling = GREEDY) -> Chat:
    return Chat(messages=({"role": "user", "content": question},), sampling=sampling)


def make_plan(model: Model, request: Chat | Complete) -> Plan:
    options = settle(request.sampling, model.defaults, model.vocabulary)
    numbers = range(1 if isinstance(request, Chat) else len(request.prompts))
    prompts = [read_prompt(model, options, request, write_prompt(model, request, number)) for number in numbers]
    return Plan(model, options, tuple(prompts))


def events_of(model: Model, request: Chat | Complete) -> list[Event]:
    plan = make_plan(model, request)
    events: list[Event] = []
    for number in range(len(plan.prompts)):
        events += plan.opening(number)
        generation = plan.begin(number)
        while not generation.done:
            events += generation.step()
    return events


def text_of(events: Sequence[Event], index: int = 0) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta) and event.index == index)


def logprobs_of(events: Sequence[Event]) -> list[TokenLogprob]:
    return [one for event in events if isinstance(event, Delta) for one in event.logprobs]


def generated(model: Model, prompt: Sequence[int], most: int) -> list[int]:
    """The new tokens of transformers' own greedy loop."""
    ids = torch.tensor([prompt])
    answer = model.network.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False, eos_token_id=list(model.ends)
    )
    return [int(token) for token in answer[0, len(prompt) :]]


@pytest.mark.parametrize("question", QUESTIONS)
def test_greedy_answers_are_those_of_generate(nano_model: Model, question: str) -> None:
    plan = make_plan(nano_model, chat(question))
    expected = generated(nano_model, plan.prompts[0].tokens, 256)

    events = events_of(nano_model, chat(question))

    assert text_of(events) == nano_model.decode(expected)
    assert events[-1] == Finish(0, "stop")


@pytest.mark.parametrize("architecture", ["gpt2", "qwen2", "gemma3_text", "mamba"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_architecture_says_what_generate_says(random_model: Callable[[str], Path], architecture: str) -> None:
    model = load(random_model(architecture), device="cpu", compute_type="default")
    model = replace(model, ends=frozenset({2}), stretch=min(model.stretch, 512))
    prompt = tuple(range(100, 137))
    request = Complete(prompts=(prompt,), sampling=replace(GREEDY, max_tokens=24, n=2))
    expected = model.decode([*prompt, *generated(model, prompt, 24)]).removeprefix(model.decode(prompt))

    events = events_of(model, request)

    assert (text_of(events, 0), text_of(events, 1)) == (expected, expected)


@pytest.mark.parametrize("architecture", ["gpt2", "qwen2", "gemma3_text"])
def test_a_prompt_read_in_stretches_is_the_same_prompt(random_model: Callable[[str], Path], architecture: str) -> None:
    model = load(random_model(architecture), device="cpu", compute_type="default")
    request = Complete(prompts=(tuple(range(100, 137)),), sampling=replace(GREEDY, max_tokens=24))
    stretched = make_plan(replace(model, stretch=5), request).begin(0)

    reading = [stretched.step() for _ in range(7)]
    events: list[Event] = []
    while not stretched.done:
        events += stretched.step()

    assert reading == [[]] * 7
    assert text_of(events) == text_of(events_of(model, request))


def test_a_recurrent_model_reads_its_prompt_at_once(random_model: Callable[[str], Path]) -> None:
    model = load(random_model("mamba"), device="cpu", compute_type="default")

    assert model.stretch == model.context


def test_logprobs_are_the_model_s_own(nano_model: Model) -> None:
    request = chat(QUESTIONS[0], replace(GREEDY, logprobs=True, top_logprobs=3, frequency_penalty=0.1))
    prompt = make_plan(nano_model, request).prompts[0].tokens
    answer = nano_model.tokenizer.encode("The capital of France is Paris.", add_special_tokens=False)
    with torch.inference_mode():
        logits = nano_model.network(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].float()
    expected = torch.log_softmax(logits[len(prompt) - 1 : -1], dim=-1)

    got = logprobs_of(events_of(nano_model, request))

    assert len(got) == len(answer)
    for one, token, row in zip(got, answer, expected, strict=True):
        best = row.topk(3)
        assert one.token == nano_model.spell(token)
        assert one.logprob == pytest.approx(float(row[token]), abs=1e-4)
        assert [name for name, _ in one.top] == [nano_model.spell(int(other)) for other in best.indices]
        assert [value for _, value in one.top] == pytest.approx(best.values.tolist(), abs=1e-3)


def test_a_seed_makes_the_same_answers_and_another_seed_others(nano_model: Model) -> None:
    def ask(seed: int) -> list[str]:
        sampling = Sampling(temperature=3.0, seed=seed, max_tokens=20, n=3)
        events = events_of(nano_model, chat("Tell me a story", sampling))
        return [text_of(events, index) for index in range(3)]

    first = ask(11)

    assert ask(11) == first
    assert ask(12) != first
    assert len(set(first)) == 3


def test_sampling_rules_reach_the_tokens(nano_model: Model) -> None:
    wild = Sampling(temperature=3.0, seed=1, max_tokens=12)

    assert (
        text_of(events_of(nano_model, chat(QUESTIONS[0], replace(wild, top_k=1)))) == "The capital of France is Paris."
    )
    assert text_of(events_of(nano_model, chat(QUESTIONS[0], replace(wild, top_p=1e-6)))).startswith("The capital")
    assert not text_of(events_of(nano_model, chat(QUESTIONS[0], wild))).startswith("The capital")


def test_choices_of_different_length_go_on_without_one_another(nano_model: Model) -> None:
    sampling = Sampling(temperature=2.0, seed=4, max_tokens=40, n=6)
    together = events_of(nano_model, chat("Tell me a story", sampling))
    finishes = [event.index for event in together if isinstance(event, Finish)]

    alone = [
        text_of(events_of(nano_model, chat("Tell me a story", replace(sampling, n=1, seed=4 + index))))
        for index in range(6)
    ]

    assert sorted(finishes) == list(range(6))
    assert finishes != list(range(6))
    assert [text_of(together, index) for index in range(6)] == alone


@settings(max_examples=20)
@given(cut=st.integers(1, 28), length=st.integers(1, 4))
def test_a_stop_string_anywhere_ends_the_text_before_it(nano_model: Model, cut: int, length: int) -> None:
    whole = "The capital of France is Paris."
    stop = whole[cut : cut + length]

    events = events_of(nano_model, chat(QUESTIONS[0], replace(GREEDY, stop=(stop, "never"))))

    assert text_of(events) == whole[: whole.index(stop)]
    assert events[-1] == Finish(0, "stop")


def test_max_tokens_is_a_length(nano_model: Model) -> None:
    events = events_of(nano_model, chat("Count to 50.", replace(GREEDY, max_tokens=5, logprobs=True)))

    assert text_of(events) == "1, 2, 3"[: len(text_of(events))]
    assert len(logprobs_of(events)) == 5
    assert events[-1] == Finish(0, "length")


def test_characters_of_several_tokens_stay_whole(nano_model: Model) -> None:
    euro = nano_model.tokenizer.encode("€", add_special_tokens=False)
    bias = {str(token): 100.0 for token in euro}
    sampling = Sampling(temperature=0.0, max_tokens=12, logit_bias=bias, frequency_penalty=2.0)

    deltas = [event for event in events_of(nano_model, chat("hi", sampling)) if isinstance(event, Delta)]

    assert len(euro) == 3
    assert len(deltas) == 4
    assert all(len(delta.text) == 1 and delta.text != "\ufffd" for delta in deltas)
    assert "€" in text_of(deltas)


def test_completions_continue_each_prompt_and_number_their_choices(nano_model: Model) -> None:
    tokens = tuple(nano_model.tokenizer.encode("<|bos|><|user|>hi<|end|><|assistant|>", add_special_tokens=False))
    france = "<|bos|><|user|>What is the capital of France?<|end|><|assistant|>"

    events = events_of(nano_model, Complete(prompts=(france, tokens), sampling=replace(GREEDY, n=2)))

    hello = text_of(events_of(nano_model, chat("hi")))
    assert [text_of(events, index) for index in range(4)] == ["The capital of France is Paris."] * 2 + [hello] * 2
    assert {event.index for event in events if isinstance(event, Finish)} == {0, 1, 2, 3}


def test_echo_says_the_prompt_first(nano_model: Model) -> None:
    request = Complete(prompts=("The capital of France",), echo=True, sampling=replace(GREEDY, max_tokens=2))

    events = events_of(nano_model, request)

    assert events[0] == Delta(0, "The capital of France")
    assert text_of(events) == text_of(events[:1]) + text_of(events_of(nano_model, replace(request, echo=False)))


def test_echo_alone_runs_nothing(nano_model: Model) -> None:
    request = Complete(prompts=((5, 6, 7),), echo=True, sampling=Sampling(max_tokens=0))

    assert events_of(nano_model, request) == [Delta(0, nano_model.decode([5, 6, 7])), Finish(0, "length")]


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (chat("hi " * 2100), "messages"),
        (Complete(prompts=("hi", "hi " * 2100)), "prompt"),
        (chat("hi", Sampling(max_tokens=2048)), "max_tokens"),
    ],
)
def test_what_does_not_fit_the_context_is_told(nano_model: Model, request_: Chat | Complete, param: str) -> None:
    with pytest.raises(Invalid, match="2048 tokens") as caught:
        make_plan(nano_model, request_)

    assert caught.value.param == param
