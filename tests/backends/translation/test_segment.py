"""Sentences are found, and nothing of a text is lost or moved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.translation.segment import Sentence, join, shorten, split

TEXTS = st.text(
    st.one_of(st.sampled_from("abXY 12.!?,;:。！？、\n\r\t\"'”)（）你好।؟…\u2028\xa0"), st.characters(codec="utf-8")),
    max_size=120,
)


def _sentences(text: str) -> list[str]:
    return [sentence.text for sentence in split(text) if sentence.text]


def _translated(text: str, translations: list[str]) -> str:
    sentences, answers = list(split(text)), iter(translations)
    return join(sentences, [next(answers) if sentence.text else "" for sentence in sentences])


@given(TEXTS)
def test_split_keeps_every_character(text: str) -> None:
    assert "".join(sentence.text + sentence.gap for sentence in split(text)) == text
    assert _translated(text, _sentences(text)) == text
    assert all(any(map(str.isalpha, sentence)) for sentence in _sentences(text))


@given(TEXTS.map(str.strip).filter(bool), st.text(max_size=3), st.integers(1, 30))
def test_shorten_keeps_every_character(text: str, gap: str, limit: int) -> None:
    parts = list(shorten(Sentence(text, gap), lambda part: len(part) <= limit))
    assert "".join(part.text + part.gap for part in parts) == text + gap
    assert all(0 < len(part.text) <= limit for part in parts)
    assert join(parts, [part.text for part in parts]) == text + gap


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "The dog sleeps. The cat runs!  Why? I do not know…",
            ["The dog sleeps.", "The cat runs!", "Why?", "I do not know…"],
        ),
        ("Mr. Smith met Dr. Jones. They spoke.", ["Mr. Smith met Dr. Jones.", "They spoke."]),
        ("J. S. Bach lived in the U.S. with e.g. Ann. No.", ["J. S. Bach lived in the U.S. with e.g. Ann.", "No."]),
        ("Es war am 3. Mai. Dann kam sie z.B. nach Hause.", ["Es war am 3. Mai.", "Dann kam sie z.B. nach Hause."]),
        ("See No. 5 and fig. 2. No. Never.", ["See No. 5 and fig. 2. No.", "Never."]),
        ('"Why?" she asked. "No!" Then he left.', ['"Why?" she asked.', '"No!"', "Then he left."]),
        ("first line\nsecond line\n\n  third", ["first line", "second line", "third"]),
        ("It ends with Mr.\nThen more", ["It ends with Mr.", "Then more"]),
        ("version 2.5 of the file a.b.c", ["version 2.5 of the file a.b.c"]),
        ("你好。我很好！“真的？”他说。", ["你好。", "我很好！", "“真的？”", "他说。"]),
        ("यह घर है। वह बड़ा है।", ["यह घर है।", "वह बड़ा है।"]),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert _sentences(text) == sentences


@pytest.mark.parametrize("text", ["", "  \n\t", "42", "12:30 - 13:45.", "...", "\N{THUMBS UP SIGN}"])
def test_without_letters_there_is_nothing_to_translate(text: str) -> None:
    assert _sentences(text) == []
    assert _translated(text, []) == text


def test_numbers_and_blank_lines_stay_between_sentences() -> None:
    assert _translated("\n One.\n\n42\n\tTwo.  ", ["Uno.", "Dos."]) == "\n Uno.\n\n42\n\tDos.  "


def test_a_space_comes_where_the_other_script_needs_one() -> None:
    assert _translated("你好。我很好！\n再见。", ["Hello.", "I am well!", "Bye."]) == "Hello. I am well!\nBye."
    assert _translated("你好。我很好！", ["こんにちは。", "元気です！"]) == "こんにちは。元気です！"


def test_long_sentences_break_at_commas_before_words_before_letters() -> None:
    text = "the red house by the sea, where nobody lives any more, " + "x" * 40
    parts = [part.text for part in shorten(Sentence(text), lambda part: len(part) <= 28)]
    assert parts[:2] == ["the red house by the sea,", "where nobody lives any more,"]
    assert "".join(parts[2:]) == "x" * 40


def test_the_next_sentence_is_looked_for_when_it_is_asked_for() -> None:
    tested = list[str]()

    def fits(part: str) -> bool:
        tested.append(part)
        return len(part) <= 8

    assert next(shorten(Sentence("word " * 1000), fits)).text == "word"
    assert len(tested) < 20
