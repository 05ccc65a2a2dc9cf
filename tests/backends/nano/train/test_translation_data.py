"""The grammar declines, conjugates and orders words; meanings are the same for the same seed and never held out."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.nano.train.translate.lexicon import Words, grammar, lexicon
from backends.nano.train.translate.phrases import NounPhrase, Pronoun, conjugated, sentence
from backends.nano.train.translate.sentences import KINDS, evaluation_set, is_held_out, sample

seeds = st.integers(0, 2**32)


def phrase(noun: str, **how: object) -> NounPhrase:
    return NounPhrase(lexicon().nouns_of([noun])[0], **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given_phrase", "wanted"),
    [
        (phrase("boy"), ("the boy", "el niño", "le garçon", "der Junge")),
        (phrase("egg", determiner="a"), ("an egg", "un huevo", "un œuf", "ein Ei")),
        (phrase("water", determiner="my"), ("my water", "mi agua", "mon eau", "mein Wasser")),
        (phrase("water"), ("the water", "el agua", "la eau", "das Wasser")),
        (phrase("house", adjective="big"), ("the big house", "la casa grande", "la grande maison", "das große Haus")),
        (
            phrase("car", plural=True, determiner="my", adjective="new"),
            ("my new cars", "mis coches nuevos", "mes voitures neuves", "meine neuen Autos"),
        ),
        (phrase("cat", plural=True, number=3), ("three cats", "tres gatos", "trois chats", "drei Katzen")),
    ],
)
def test_noun_phrases(given_phrase: NounPhrase, wanted: Words) -> None:
    assert given_phrase.words() == wanted


@pytest.mark.parametrize(
    ("given_phrase", "spanish", "german"),
    [
        (phrase("boy"), "al niño", "den Jungen"),
        (phrase("woman", determiner="my"), "a mi mujer", "meine Frau"),
        (phrase("tree", adjective="green", determiner="a"), "un árbol verde", "einen grünen Baum"),
    ],
)
def test_objects_take_the_personal_a_and_the_accusative(given_phrase: NounPhrase, spanish: str, german: str) -> None:
    _, es, _, de = given_phrase.words(accusative=True, personal=True)
    assert (es, de) == (spanish, german)


def test_sentences_are_elided_capitalised_and_marked() -> None:
    subject = Pronoun("I")
    parts = {"s": subject.words(), "o": phrase("water").words(accusative=True), **conjugated("buy", subject)}
    assert sentence(grammar().transitive["negation"], **parts) == (
        "I do not buy the water.",
        "No compro el agua.",
        "Je n'achète pas l'eau.",
        "Ich kaufe das Wasser nicht.",
    )
    assert sentence(grammar().transitive["question"], **parts)[1:3] == (
        "¿Compro el agua?",
        "Est-ce que j'achète l'eau ?",
    )


@given(seeds, st.booleans())
def test_meanings_are_on_their_side_and_repeatable(seed: int, test: bool) -> None:
    kind, meaning = sample(Random(seed), test)
    assert (kind, meaning) == sample(Random(seed), test)
    assert is_held_out(meaning) == test


def test_the_evaluation_set_is_held_out_and_grows_at_its_end() -> None:
    larger = evaluation_set(60)
    assert larger[:20] == evaluation_set(20)
    assert len({meaning for _, meaning in larger}) == 60
    assert all(is_held_out(meaning) for _, meaning in larger)


def test_one_sentence_has_one_translation() -> None:
    r, renderings = Random(0), dict[tuple[int, str], Words]()
    for _ in range(4000):
        _, meaning = sample(r, False)
        for language, text in enumerate(meaning):
            assert renderings.setdefault((language, text), meaning) == meaning


@given(seeds, st.sampled_from(list(KINDS)))
def test_sentences_are_clean_text(seed: int, kind: str) -> None:
    meaning = KINDS[kind][1](Random(seed))
    for text in meaning or ():
        assert text == " ".join(text.split())
        assert "{" not in text
        assert text.lstrip("¿¡")[0].isupper()
        assert text[-1] in ".?!"
