"""Noun phrases and pronouns, declined in four languages, and how a sentence is put together from them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from backends.nano.train.common import capitalised
from backends.nano.train.translate.lexicon import Noun, Words, lexicon

# Every French h in this lexicon is mute.
FRENCH_VOWELS = "aeiouâéèêëîïôûœh"
ELIDED = re.compile(rf"\b([Ll](?=[ea])|(?:[JjNnDd]|[Qq]u)(?=e))[ea] (?=[{FRENCH_VOWELS}])")
OPENING = {"?": "¿", "!": "¡"}
NOTHING: Words = ("", "", "", "")


@dataclass(frozen=True)
class Pronoun:
    """I, you, he, she, we or they; "you" is one friend, "they" are masculine."""

    word: str

    @property
    def plural(self) -> bool:
        """Whether its verb is plural in number."""
        return self.word in {"we", "they"}

    @property
    def person(self) -> int:
        """Index into conjugations: I, you, he, we, they."""
        return {"I": 0, "you": 1, "he": 2, "she": 2, "we": 3, "they": 4}[self.word]

    def agreement(self, _language: str) -> int:
        """Index into Romance adjective forms; only the third person takes adjectives here."""
        return {"he": 0, "she": 1, "they": 2}[self.word]

    def words(self) -> Words:
        """The pronoun as a subject."""
        return next(pronoun for pronoun in lexicon().pronouns if pronoun[0] == self.word)


@dataclass(frozen=True)
class NounPhrase:
    """A noun with "the", "a", "my" or a number from 2, and perhaps an adjective."""

    noun: Noun
    plural: bool = False
    determiner: str = "the"
    adjective: str | None = None
    number: int | None = None

    @property
    def person(self) -> int:
        """Index into conjugations: he or they."""
        return 4 if self.plural else 2

    def agreement(self, language: str) -> int:
        """Index into Romance adjective forms: masculine, feminine, and their plurals."""
        gender = self.noun.es_gender if language == "es" else self.noun.fr_gender
        return 2 * self.plural + (gender == "f")

    def words(self, accusative: bool = False, personal: bool = False) -> Words:
        """The phrase in four languages; `accusative` is German case, `personal` the Spanish "a" before people."""
        return self.english(), self.spanish(personal), self.french(), self.german(accusative)

    def counted(self, language: int) -> str:
        """The number word, empty without a number."""
        return lexicon().numbers[self.number - 1][language] if self.number else ""

    def english(self) -> str:
        """The phrase in English."""
        words = [*([self.adjective] if self.adjective else []), self.noun.en[self.plural]]
        determiner = self.determiner
        if determiner == "a" and words[0][0] in "aeiou":
            determiner = "an"
        return " ".join([self.counted(0) or determiner, *words])

    def spanish(self, personal: bool) -> str:
        """The phrase in Spanish."""
        noun, feminine = self.noun, self.noun.es_gender == "f"
        if self.determiner == "the":
            determiner = ("el", "la", "los", "las")[2 * self.plural + feminine]
            if noun.es[0] == "agua":  # feminine, but it begins with a stressed a
                determiner = "el"
        elif self.determiner == "a":
            determiner = "una" if feminine else "un"
        else:
            determiner = "mis" if self.plural else "mi"
        words = [self.counted(1) or determiner, noun.es[self.plural]]
        if self.adjective:
            words.append(lexicon().adjectives[self.adjective].es[self.agreement("es")])
        if personal and noun.kind == "person":
            words[:1] = ["al"] if words[0] == "el" else ["a", words[0]]
        return " ".join(words)

    def french(self) -> str:
        """The phrase in French, before elision."""
        words = [self.noun.fr[self.plural]]
        if self.adjective:
            adjective = lexicon().adjectives[self.adjective]
            words.insert(0 if adjective.fr_before else 1, adjective.fr[self.agreement("fr")])
        feminine = self.noun.fr_gender == "f"
        if self.determiner == "the":
            determiner = "les" if self.plural else "la" if feminine else "le"
        elif self.determiner == "a":
            determiner = "une" if feminine else "un"
        elif self.plural:
            determiner = "mes"
        else:
            determiner = "ma" if feminine and words[0][0] not in FRENCH_VOWELS else "mon"
        return " ".join([self.counted(2) or determiner, *words])

    def german(self, accusative: bool) -> str:
        """The phrase in German, nominative or accusative."""
        noun, masculine_object = self.noun, accusative and self.noun.de_gender == "m" and not self.plural
        if self.number:
            determiner, ending = self.counted(3), "e"
        elif self.plural:
            determiner, ending = ("die" if self.determiner == "the" else "meine"), "en"
        elif self.determiner == "the":
            determiner = "den" if masculine_object else {"m": "der", "f": "die", "n": "das"}[noun.de_gender]
            ending = "en" if masculine_object else "e"
        else:
            stem = "ein" if self.determiner == "a" else "mein"
            determiner = stem + ("en" if masculine_object else {"m": "", "f": "e", "n": ""}[noun.de_gender])
            ending = "en" if masculine_object else {"m": "er", "f": "e", "n": "es"}[noun.de_gender]
        word = noun.de_accusative if masculine_object and noun.de_accusative else noun.de[self.plural]
        if self.adjective:
            adjective = lexicon().adjectives[self.adjective]
            return f"{determiner} {adjective.de_stem or adjective.de}{ending} {word}"
        return f"{determiner} {word}"


Subject = Pronoun | NounPhrase


def conjugated(verb: str, subject: Subject) -> dict[str, Words]:
    """The parts v, base and do of a pattern for `verb` with `subject`."""
    entry = lexicon().verbs[verb]
    auxiliary = "does" if subject.person == 2 else "do"
    return {
        "v": entry.present(subject.person),
        "base": (entry.en[0], "", "", ""),
        "do": (auxiliary, "", "", ""),
    }


def sentence(pattern: Sequence[str], **parts: Words) -> Words:
    """`pattern` filled with `parts` in four languages: spaces, elision, capitals and marks as each language wants."""
    mark = pattern[4] if len(pattern) > 4 else "."
    filled = (
        template.format(**{name: words[i] for name, words in parts.items()}) for i, template in enumerate(pattern[:4])
    )
    en, es, fr, de = (" ".join(text.split()) for text in filled)
    opening = OPENING.get(mark, "")
    return (
        capitalised(en) + mark,
        opening + capitalised(es) + mark,
        capitalised(ELIDED.sub(r"\1'", fr)) + (" " if opening else "") + mark,
        capitalised(de) + mark,
    )
