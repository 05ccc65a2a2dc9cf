from __future__ import annotations

import math

import pytest

from backends.errors import Invalid, Unsupported
from backends.transformers.options import room, settle
from backends.types import Sampling


@pytest.mark.parametrize(
    ("sampling", "param"),
    [
        (Sampling(temperature=-0.1), "temperature"),
        (Sampling(temperature=math.nan), "temperature"),
        (Sampling(temperature=math.inf), "temperature"),
        (Sampling(top_p=0.0), "top_p"),
        (Sampling(top_p=1.1), "top_p"),
        (Sampling(top_k=-2), "top_k"),
        (Sampling(min_p=1.5), "min_p"),
        (Sampling(repetition_penalty=0.0), "repetition_penalty"),
        (Sampling(frequency_penalty=2.5), "frequency_penalty"),
        (Sampling(presence_penalty=-2.5), "presence_penalty"),
        (Sampling(n=0), "n"),
        (Sampling(n=129), "n"),
        (Sampling(seed=2**63), "seed"),
    ],
)
def test_a_value_out_of_range_is_named(sampling: Sampling, param: str) -> None:
    with pytest.raises(Invalid, match=f"{param} is") as caught:
        settle(sampling, {}, 10)

    assert caught.value.param == param


@pytest.mark.parametrize(
    ("sampling", "param"),
    [
        (Sampling(logprobs=True, top_logprobs=21), "top_logprobs"),
        (Sampling(top_logprobs=2), "top_logprobs"),
        (Sampling(stop=("a", "")), "stop"),
        (Sampling(logit_bias={"ten": 1.0}), "logit_bias"),
        (Sampling(logit_bias={"10": 1.0}), "logit_bias"),
        (Sampling(logit_bias={"9" * 5000: 1.0}), "logit_bias"),
        (Sampling(logit_bias={"1": 101.0}), "logit_bias"),
    ],
)
def test_what_makes_no_sense_is_named(sampling: Sampling, param: str) -> None:
    with pytest.raises(Invalid) as caught:
        settle(sampling, {}, 10)

    assert caught.value.param == param


def test_best_of_is_taken_only_where_it_changes_nothing() -> None:
    assert settle(Sampling(n=3, best_of=3), {}, 10).n == 3
    with pytest.raises(Unsupported) as caught:
        settle(Sampling(n=1, best_of=3), {}, 10)
    assert caught.value.param == "best_of"


def test_the_model_s_defaults_hold_where_the_caller_is_silent() -> None:
    rules = settle(Sampling(top_p=0.5), {"temperature": 0.6, "top_p": 0.95, "top_k": 20}, 10).rules

    assert (rules.temperature, rules.top_p, rules.top_k) == (0.6, 0.5, 20)


def test_without_any_word_the_temperature_is_one() -> None:
    rules = settle(Sampling(), {}, 10).rules

    assert (rules.temperature, rules.top_p, rules.top_k, rules.min_p) == (1.0, 1.0, 0, 0.0)


def test_bias_is_by_token_id() -> None:
    assert settle(Sampling(logit_bias={"7": -3.0}), {}, 10).rules.logit_bias == {7: -3.0}


@pytest.mark.parametrize(
    ("asked", "default", "budget"), [(None, None, 60), (None, 25, 25), (None, 99, 60), (30, 25, 30), (60, None, 60)]
)
def test_room_is_the_wish_the_default_or_the_rest(asked: int | None, default: int | None, budget: int) -> None:
    options = settle(Sampling(max_tokens=asked), {} if default is None else {"max_new_tokens": default}, 10)

    assert room(options, prompt=40, context=100, param="messages") == budget


@pytest.mark.parametrize(
    ("asked", "prompt", "param", "words"),
    [
        (61, 40, "max_tokens", "61 and the prompt has 40 tokens.*100 tokens; ask for at most 60"),
        (0, 40, "max_tokens", "max_tokens is 0"),
        (None, 100, "messages", "prompt has 100 tokens and the model's context is 100"),
        (1, 120, "messages", "prompt has 120 tokens"),
    ],
)
def test_too_little_room_is_told_in_numbers(asked: int | None, prompt: int, param: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        room(settle(Sampling(max_tokens=asked), {}, 10), prompt=prompt, context=100, param="messages")

    assert caught.value.param == param
