"""Dialogues are the same for the same seed, right, and never hold what is held out."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.nano.train.chat.dialogues import Dialogue, evaluation_set, held_out, memory, training_dialogue, turn
from backends.nano.train.chat.families import FAMILIES
from backends.nano.train.chat.world import world

seeds = st.integers(0, 2**32)


def dialogues(seed: int, count: int = 8) -> list[Dialogue]:
    r = Random(seed)
    return [training_dialogue(r, long_share=0.2) for _ in range(count)]


@given(seeds)
def test_one_seed_one_corpus(seed: int) -> None:
    assert dialogues(seed) == dialogues(seed)


@given(seeds)
def test_no_training_question_is_held_out(seed: int) -> None:
    memories = set(world().prompts["ask_name"]) | set(world().prompts["ask_colour"])
    tells = ("name", "I am", "call me", "Call me", "colour", "color")
    for dialogue in dialogues(seed):
        for prompt, _ in dialogue.turns:
            # Of a memory it is the pair of telling and asking that is held out, not each text.
            assert not held_out(prompt) or prompt in memories or any(tell in prompt for tell in tells)


@given(seeds)
def test_a_remembered_pair_is_on_its_side_of_the_split(seed: int) -> None:
    told, *_, asked = memory(Random(seed), test=True)
    assert held_out(told.prompt + asked.prompt)


def test_every_evaluated_question_is_held_out_and_asked_once() -> None:
    asked = evaluation_set()
    assert len(asked) == 555
    assert asked == evaluation_set()
    for group, dialogue in asked:
        if not group.startswith("memory") and group != "free-form unknown":
            assert held_out(dialogue.turns[-1].prompt), dialogue


def test_the_first_prompts_of_everybody_are_never_held_out() -> None:
    assert not any(held_out(prompt) for prompt in world().prompts["always_trained"])


@given(seeds, st.booleans())
def test_sums_are_right(seed: int, test: bool) -> None:
    answer = turn(Random(seed), "arithmetic", test).answer
    sum_, result = answer.removesuffix(".").split(" = ")
    a, sign, b = sum_.split()
    assert int(result) == (int(a) + int(b) if sign == "+" else int(a) - int(b))


@given(seeds)
def test_counting_ends_where_it_was_asked_to(seed: int) -> None:
    prompt, answer = turn(Random(seed), "counting", False)
    numbers = [int(n) for n in answer.removesuffix(".").split(", ")]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert str(numbers[-1]) in prompt.rstrip(".?").split()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_both_sides(family: str) -> None:
    r = Random(0)
    assert held_out(turn(r, family, True).prompt)
    assert not held_out(turn(r, family, False).prompt)
