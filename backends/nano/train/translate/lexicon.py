"""The words of lexicon.toml and the word orders of patterns.toml, as typed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from backends.nano.train.common import read_tables

LANGUAGES = ("en", "es", "fr", "de")

Words = tuple[str, str, str, str]
"""One word or sentence in each of LANGUAGES."""

Forms = Sequence[str]


@dataclass(frozen=True)
class Noun:
    """Singular and plural, genders, and the German accusative singular where it differs."""

    kind: Literal["person", "animal", "food", "mass", "drink", "thing"]
    en: Forms
    es_gender: Literal["m", "f"]
    es: Forms
    fr_gender: Literal["m", "f"]
    fr: Forms
    de_gender: Literal["m", "f", "n"]
    de: Forms
    de_accusative: str = ""

    @property
    def counted(self) -> bool:
        """Whether it has a plural and takes numbers."""
        return len(self.en) > 1


@dataclass(frozen=True)
class Adjective:
    """Romance forms (masculine, feminine, and their plurals), the German predicate and stem, and where it stands."""

    es: Forms
    fr: Forms
    de: str
    de_stem: str = ""
    fr_before: bool = False
    estar: bool = False


@dataclass(frozen=True)
class Imperative:
    """What one says to a friend."""

    es: str
    es_negative: str
    fr: str
    de: str


@dataclass(frozen=True)
class Verb:
    """Present tense by person (I, you, he, we, they), and what its subjects and objects may be."""

    en: Forms
    es: Forms
    fr: Forms
    de: Forms
    imperative: Imperative | None = None
    objects: Sequence[str] = ()
    animals: bool = False

    def present(self, person: int) -> Words:
        """The finite forms of `person`, 0 to 4."""
        english = self.en[person] if len(self.en) > 2 else self.en[person == 2]
        return english, self.es[person], self.fr[person], self.de[min(person, 3)]


@dataclass(frozen=True)
class Weather:
    """What follows "it is", the Spanish and French sentences, and the German verb and predicate."""

    en: str
    es: str
    fr: str
    fr_negative: str
    de: str
    de_predicate: str


@dataclass(frozen=True)
class Lexicon:
    """Everything the four languages can talk about here."""

    nouns: Sequence[Noun]
    adjectives: Mapping[str, Adjective]
    verbs: Mapping[str, Verb]
    colours: Sequence[str]
    numbers: Sequence[Words]
    estar: Forms
    very: Words
    pronouns: Sequence[Words]
    languages: Sequence[Words]
    places: Sequence[Words]
    cities: Sequence[Words]
    days: Sequence[Words]
    times: Sequence[Words]
    weather: Sequence[Weather]
    fixed: Sequence[Words]
    introduction: Words
    calls: Sequence[Words]
    names: Sequence[str]

    def nouns_of(self, kinds: Sequence[str]) -> list[Noun]:
        """All nouns of the given kinds; an English noun among them stands for itself."""
        return [noun for kind in kinds for noun in self.nouns if kind in (noun.kind, noun.en[0])]


Patterns = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Grammar:
    """Word order by kind of sentence: four templates, and the final mark as a fifth where it is not a full stop."""

    transitive: Patterns
    intransitive: Patterns
    predicate: Patterns
    ask: Patterns
    command: Patterns
    weather: Patterns
    number: Patterns
    day: Patterns
    speech: Patterns


@cache
def lexicon() -> Lexicon:
    """The words of lexicon.toml, read once."""
    return read_tables(Path(__file__).with_name("lexicon.toml"), Lexicon)


@cache
def grammar() -> Grammar:
    """The word orders of patterns.toml, read once."""
    return read_tables(Path(__file__).with_name("patterns.toml"), Grammar)
