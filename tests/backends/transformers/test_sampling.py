from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import Broken
from backends.transformers.sampling import History, Rules, Sampler, distribution, penalise

LOGITS = st.lists(st.integers(-80, 80).map(lambda n: n / 10), min_size=2, max_size=12, unique=True)
SHARES = st.floats(0.05, 1.0)


def sampler(rules: Rules, *, prompt: tuple[int, ...] = (), seed: int | None = 1, vocabulary: int = 8) -> Sampler:
    return Sampler(rules, prompt, vocabulary=vocabulary, seed=seed, device="cpu")


def cut(logits: list[float], rules: Rules) -> list[float]:
    """The definition, token by token in order of likelihood."""
    weights = [math.exp(value / rules.temperature) for value in logits]
    order = sorted(range(len(logits)), key=lambda token: -weights[token])
    kept = [token for token in order if weights[token] >= rules.min_p * max(weights)]
    kept = kept[: rules.top_k or len(kept)]
    total = sum(weights[token] for token in kept)
    nucleus: list[int] = []
    for token in kept:
        if nucleus and sum(weights[other] for other in nucleus) / total >= rules.top_p:
            break
        nucleus.append(token)
    total = sum(weights[token] for token in nucleus)
    return [weights[token] / total if token in nucleus else 0.0 for token in range(len(logits))]


@given(LOGITS, st.sampled_from([0.5, 1.0, 2.0]), SHARES, st.integers(0, 12), st.sampled_from([0.0, 0.123, 0.77]))
def test_distribution_is_what_the_definitions_say(
    logits: list[float], temperature: float, top_p: float, top_k: int, min_p: float
) -> None:
    rules = Rules(temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)

    got = distribution(torch.tensor(logits, dtype=torch.float64), rules).tolist()

    assert got == pytest.approx(cut(logits, rules), abs=1e-9)
    assert sum(got) == pytest.approx(1.0)
    assert got[logits.index(max(logits))] > 0


@given(LOGITS, st.floats(0.5, 2.0), st.floats(-2, 2), st.floats(-2, 2), st.lists(st.integers(0, 1), max_size=5))
def test_penalties_are_what_the_definitions_say(
    logits: list[float], repetition: float, frequency: float, presence: float, answer: list[int]
) -> None:
    rules = Rules(repetition_penalty=repetition, frequency_penalty=frequency, presence_penalty=presence)
    history = History([0], len(logits), "cpu")
    for token in answer:
        history.add(token)

    got = penalise(torch.tensor(logits, dtype=torch.float64), rules, history).tolist()

    def expected(token: int, logit: float) -> float:
        if token in {0, *answer}:
            logit = logit / repetition if logit > 0 else logit * repetition
        return logit - frequency * answer.count(token) - presence * (token in answer)

    assert got == pytest.approx([expected(token, logit) for token, logit in enumerate(logits)], abs=1e-5)


def test_temperature_zero_takes_the_likeliest() -> None:
    assert sampler(Rules(temperature=0.0)).pick(torch.tensor([0.1, 3.0, 2.9, 0, 0, 0, 0, 0])) == 1


def test_bias_forbids_and_forces() -> None:
    logits = torch.tensor([0.1, 3.0, 2.9, 0, 0, 0, 0, 0])

    assert sampler(Rules(temperature=0.0, logit_bias={1: -100.0})).pick(logits) == 2
    assert sampler(Rules(logit_bias={5: 100.0})).pick(logits) == 5


def test_frequency_penalty_moves_on_to_other_tokens() -> None:
    chooser = sampler(Rules(temperature=0.0, frequency_penalty=1.0))
    logits = torch.tensor([3.0, 2.5, 0, 0, 0, 0, 0, 0])

    assert [chooser.pick(logits) for _ in range(4)] == [0, 1, 0, 1]


def test_repetition_penalty_knows_the_prompt() -> None:
    assert (
        sampler(Rules(temperature=0.0, repetition_penalty=2.0), prompt=(0,)).pick(
            torch.tensor([3.0, 2.5, 0, 0, 0, 0, 0, 0])
        )
        == 1
    )


def test_a_seed_repeats_itself_whatever_others_draw() -> None:
    logits = torch.zeros(8)
    alone = sampler(Rules(), seed=5)
    expected = [alone.pick(logits) for _ in range(20)]
    one, other = sampler(Rules(), seed=5), sampler(Rules(), seed=6)

    drawn = [(one.pick(logits), other.pick(logits), int(torch.randint(8, ()))) for _ in range(20)]

    assert [first for first, *_ in drawn] == expected
    assert [second for _, second, _ in drawn] != expected


def test_without_a_seed_draws_differ() -> None:
    logits = torch.zeros(8)
    first, second = sampler(Rules(), seed=None), sampler(Rules(), seed=None)

    assert [first.pick(logits) for _ in range(40)] != [second.pick(logits) for _ in range(40)]


def test_draws_follow_the_distribution() -> None:
    chooser = sampler(Rules(top_k=2), vocabulary=3)
    drawn = Counter(chooser.pick(torch.tensor([0.0, math.log(3), -1.0])) for _ in range(2000))

    assert drawn[1] / 2000 == pytest.approx(0.75, abs=0.04)
    assert drawn[2] == 0


def test_nan_is_told_and_not_drawn_from() -> None:
    with pytest.raises(Broken, match="float32"):
        sampler(Rules()).pick(torch.full((8,), math.nan))
