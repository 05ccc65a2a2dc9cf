"""Whole dialogues from single turns: system prompts, memory over turns, long chats, and what is held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from backends.nano.train import common
from backends.nano.train.chat.families import FAMILIES, Turn, invented_word
from backends.nano.train.chat.world import world

# Invented words and long counts stay out of upper case: mapping letters one by one is not taught.
SHOUTABLE = [family for family in FAMILIES if family not in {"repeat", "counting"}]


@dataclass(frozen=True)
class Dialogue:
    """A chat with an optional system prompt; the last turn's answer is what an evaluation expects."""

    system: str | None
    turns: Sequence[Turn]


def held_out(prompt: str) -> bool:
    """Whether `prompt` is never a training prompt, in no position of any dialogue: one text in twelve."""
    return prompt not in world().prompts["always_trained"] and common.held_out(prompt, 12)


def turn(r: Random, family: str, test: bool) -> Turn:
    """One turn of `family`, from the held-out side when `test`, else from the training side."""
    _, draw = FAMILIES[family]
    while True:
        candidate = draw(r)
        if held_out(candidate.prompt) == test:
            return candidate


def any_turn(r: Random, test: bool) -> Turn:
    """One turn of a family drawn by its weight."""
    family = r.choices(list(FAMILIES), [weight for weight, _ in FAMILIES.values()])[0]
    return turn(r, family, test)


def shouted_turn(r: Random, families: Sequence[str], test: bool) -> Turn:
    """One turn as it goes under a system prompt that asks for upper case."""
    prompt, answer = turn(r, r.choice(families), test)
    return Turn(prompt, answer.upper())


def told_name(r: Random) -> str:
    """A name to remember: a real one or an invented one."""
    return r.choice(world().words["names"]) if r.random() < 0.5 else invented_word(r)


def memory(r: Random, test: bool, names: Sequence[str] = ()) -> list[Turn]:
    """A name (one of `names`, if given) or a favourite colour, told and asked for within two to four turns."""
    prompts, words = world().prompts, world().words
    while True:
        name = r.choice(names) if names else told_name(r)
        colour = r.choice(words["colours"])
        tell = Turn(r.choice(prompts["tell_name"]).format(n=name), f"Nice to meet you, {name}.")
        ask = Turn(r.choice(prompts["ask_name"]), f"Your name is {name}.")
        tell_colour = r.choice(prompts["tell_colour"]).format(c=colour)
        like = Turn(tell_colour, f"I will remember that you like {colour}.")
        which = Turn(r.choice(prompts["ask_colour"]), f"Your favourite colour is {colour}.")
        if held_out(tell.prompt + ask.prompt) == test:
            break
    shape = r.random()
    if test or shape < 0.35:
        return [tell, ask] if r.random() < 0.5 else [tell, any_turn(r, test), ask]
    if shape < 0.45:
        return [tell, any_turn(r, test), any_turn(r, test), ask]
    if shape < 0.55:
        return [tell, like, ask, which] if r.random() < 0.5 else [like, tell, which, ask]
    if shape < 0.65:
        return [like, which] if r.random() < 0.4 else [like, any_turn(r, test), which]
    if shape < 0.73:
        return [Turn(ask.prompt, "I do not know your name yet."), tell, ask]
    if shape < 0.80:
        return [any_turn(r, test), Turn(ask.prompt, "I do not know your name yet.")]
    if shape < 0.85:
        return [Turn(which.prompt, "I do not know your favourite colour yet."), like, which]
    return [any_turn(r, test), tell, ask] if r.random() < 0.5 else [tell, ask, any_turn(r, test), ask]


def training_dialogue(r: Random, long_share: float) -> Dialogue:
    """One dialogue of the training side; `long_share` of them have five turns or more."""
    shape = r.random()
    system = world().system
    plain = " ".join(r.sample(system["plain"], r.choice([1, 1, 1, 2, 3]))) if r.random() < 0.25 else None
    if r.random() < long_share:
        return long_dialogue(r, plain)
    if shape < 0.17:
        return Dialogue(plain, memory(r, False))
    turns = [any_turn(r, False) for _ in range(r.choice([1, 1, 2, 2, 3, 4]))]
    if r.random() < 0.16:
        turns = [shouted_turn(r, SHOUTABLE, False) for _ in range(r.choice([1, 1, 2, 3]))]
        return Dialogue(r.choice(system["upper_case"]), turns)
    return Dialogue(plain, turns)


def long_dialogue(r: Random, system: str | None) -> Dialogue:
    """Five to eighteen turns, often with a memory spread over them, so that late turns still work."""
    length = r.randint(5, 18)
    if r.random() < 0.15:
        upper_case = r.choice(world().system["upper_case"])
        return Dialogue(upper_case, [shouted_turn(r, SHOUTABLE, False) for _ in range(length)])
    turns = [any_turn(r, False) for _ in range(length)]
    if r.random() < 0.6:
        remembered, position = memory(r, False), -1
        for k, part in enumerate(remembered, 1):
            earliest = position + 1
            position = r.randint(earliest, max(earliest, len(turns) * k // len(remembered)))
            turns.insert(position, part)
    return Dialogue(system, turns)


QUESTIONS_PER_FAMILY = dict(zip(FAMILIES, (30, 25, 80, 40, 40, 50, 40, 40, 40, 50), strict=True))


def evaluation_set() -> list[tuple[str, Dialogue]]:
    """(group, dialogue) of 555 different held-out questions, always the same."""
    r = Random(common.SEED + 999)
    chosen: dict[str, tuple[str, Dialogue]] = {}

    def add(group: str, turns: Sequence[Turn], system: str | None = None) -> None:
        asked = repr((system, turns[:-1], turns[-1].prompt))
        chosen.setdefault(asked, (group, Dialogue(system, turns)))

    for family, count in QUESTIONS_PER_FAMILY.items():
        for _ in range(count):
            add(family, [turn(r, family, True)])
    for _ in range(40):
        add("memory", memory(r, True))
    for _ in range(40):
        add("memory, names never seen", memory(r, True, world().words["new_names"]))
    shouted = ["greetings", "name, abilities, story", "capitals", "colours", "days and months", "lists", "arithmetic"]
    for _ in range(40):
        question = shouted_turn(r, shouted, True)
        add("upper case", [question], r.choice(world().system["upper_case"]))
    for _ in range(40):
        turns = [any_turn(r, True) for _ in range(3)]
        add("third turn of a chat", turns, r.choice([None, r.choice(world().system["plain"])]))
    for prompt in world().prompts["free_form"]:
        add("free-form unknown", [Turn(prompt, world().answers["fallback"])])
    return list(chosen.values())
