"""Sentences and voices of grammar.toml, and which sentences are held out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from backends.nano.train.common import capitalised, read_tables

TOKEN = re.compile(r"[\[\]|]|<[^>]+>|[^\[\]|<]+")
HELD_OUT = 600
CORPUS_SEED = 1  # the corpus of the shipped weights: another seed would train on their held-out sentences


@dataclass(frozen=True)
class Grammar:
    """Templates, the rules and word lists they name, and the weights of the voices."""

    templates: Sequence[str]
    rules: Mapping[str, str]
    words: Mapping[str, Sequence[str]]
    accents: Mapping[str, int]
    variants: Mapping[str, int]
    further_variants: Mapping[str, int]


@cache
def grammar() -> Grammar:
    """The grammar of grammar.toml, read once."""
    return read_tables(Path(__file__).with_name("grammar.toml"), Grammar)


def expand(r: Random, template: str) -> str:
    """A sentence of `template`, left to right; every alternative is expanded before one is chosen."""
    open_choices: list[list[str]] = [[""]]
    for token in TOKEN.findall(template):
        if token == "[":
            open_choices.append([""])
        elif token == "|":
            open_choices[-1].append("")
        elif token == "]":
            alternatives = open_choices.pop()
            open_choices[-1][-1] += r.choice(alternatives)
        else:
            open_choices[-1][-1] += named(r, token[1:-1]) if token[0] == "<" else token
    return open_choices[0][0]


def named(r: Random, name: str) -> str:
    """What <name> stands for: a word, a rule, or one of the three that agree with something."""
    words, rules = grammar().words, grammar().rules
    if name in words:
        return r.choice(words[name])
    if name == "clock":
        return expand(r, rules["clock"].replace("{h}", r.choice(words["hour"])))
    if name == "owner":
        owner = expand(r, rules["subject"])
        third_person = owner in words["name"] or owner in {"he", "she"}
        return f"{owner} {expand(r, rules['has' if third_person else 'have_verb'])}"
    if name.startswith("number "):
        low, high = map(int, name.split()[1:])
        return number_words(r.randint(low, high))
    return expand(r, rules[name])


def number_words(n: int) -> str:
    """0 to 99 in words, without a hyphen."""
    small, tens = grammar().words["small"], grammar().words["tens"]
    if n < 20:
        return small[n]
    return tens[n // 10 - 2] + (f" {small[n % 10]}" if n % 10 else "")


def sentence(r: Random) -> str:
    """One sentence with its capital and its mark."""
    text = expand(r, r.choice(grammar().templates))
    return capitalised(" ".join(text.split()))


def corpus(size: int) -> tuple[list[str], list[str]]:
    """(`size` training sentences, 600 held-out ones), all different and of 2 to 11 words; a small one begins a large one."""
    r, chosen = Random(CORPUS_SEED), dict[str, None]()
    while len(chosen) < HELD_OUT + size:
        text = sentence(r)
        if 2 <= len(text.split()) <= 11:
            chosen[text] = None
    texts = list(chosen)
    return texts[HELD_OUT:], texts[:HELD_OUT]


def crossed(r: Random) -> str:
    """The beginning of a sentence and the end of another one, so that hearing counts for more than what was said before."""
    one, other = sentence(r).split(), sentence(r).split()
    return " ".join(one[: r.randint(1, len(one))] + other[r.randrange(1, len(other)) :])


def sayings(count: int, seed: int, nonsense: float = 0.5) -> list[str]:
    """`count` training sentences as often as the grammar says them; a share of `nonsense` is crossed out of two.

    Among sentences that are all different the short ones, of which there are few, grow rarer the more there are; and of
    the combinations that are held out a model learns that nobody says them.
    """
    _, held_out = corpus(0)
    r, kept_back, said = Random(seed), set(held_out), list[str]()
    while len(said) < count:
        text = crossed(r) if r.random() < nonsense else sentence(r)
        if text not in kept_back and 2 <= len(text.split()) <= 11:
            said.append(text)
    return said


def voice(r: Random) -> str:
    """One of the voices of the first training as espeak-ng names it: an accent, or accent+variant."""
    return voice_of(r, grammar().variants)


def further_voice(r: Random) -> str:
    """One of the voices of fine-tuning: those of the first training and more."""
    return voice_of(r, {**grammar().variants, **grammar().further_variants})


def voice_of(r: Random, variants: Mapping[str, int]) -> str:
    """One of the accents in one of `variants`, by their weights."""
    accents = grammar().accents
    accent = r.choices(list(accents), list(accents.values()))[0]
    variant = r.choices(list(variants), list(variants.values()))[0]
    return f"{accent}+{variant}" if variant else accent
