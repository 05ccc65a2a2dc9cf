"""Texts become sentences that the engine can hold; languages mix in a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytest

from backends.errors import Broken, Invalid
from backends.inprocess.conversion import converted
from backends.translation.checkpoint import read_checkpoint
from backends.translation.decoding import Decoding
from backends.translation.engine import CTranslate2Engine, Engine, GenerateEngine
from backends.translation.family import Framed, Pair, detect
from backends.translation.pipeline import MOST_CHARACTERS, MOST_TEXTS, Part, Pipeline
from backends.translation.tokenizer import Tokenizer, open_tokenizer
from backends.types import Translate

GREEDY = Decoding(beam_size=1, early_stopping=True, length_penalty=1.0, no_repeat_ngram_size=0, max_new_tokens=40)


@pytest.fixture(scope="module")
def engine(nano: Path, store: Path) -> CTranslate2Engine:
    kept = converted(nano, store=store / "converted", quantization="int8", copy=(), report=lambda _: None)
    return CTranslate2Engine(kept, device="cpu", compute_type="int8")


class Counting:
    """A tokenizer that notes how many characters it cut into pieces."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.characters = 0

    def pieces(self, text: str) -> list[str]:
        self.characters += len(text)
        return self._tokenizer.pieces(text)

    def text(self, pieces: Sequence[str]) -> str:
        return self._tokenizer.text(pieces)


def _pipeline(nano: Path, engine: Engine) -> Pipeline:
    checkpoint, tokenizer = read_checkpoint("nano", nano, engine.vocabulary), open_tokenizer(nano)
    return Pipeline(checkpoint, detect(checkpoint, tokenizer.pieces), tokenizer, engine)


def _read(pipeline: Pipeline, texts: Sequence[str], length: int | None = None) -> Iterator[Part]:
    request = Translate(texts=(), source="en", target="fr", max_input_length=length)
    return pipeline.read(texts, pipeline.plan(request))


def _sent(parts: Iterator[Part]) -> list[Framed]:
    return [part.framed for part in parts if part.framed is not None]


def test_every_text_ends_with_a_part_that_says_so(nano: Path, engine: CTranslate2Engine) -> None:
    parts = list(_read(_pipeline(nano, engine), ["My dog sleeps. Yes.", "42", ""]))
    told = [(part.sentence.text + part.sentence.gap, part.framed is not None, part.last) for part in parts]
    end = ("", False, True)
    assert told == [("My dog sleeps. ", True, False), ("Yes.", True, False), end, ("42", False, False), end, end]


@pytest.mark.parametrize("text", ["1\n" * 50_000, "My dog sleeps. " * 5000, "a" * 60_000])
def test_a_text_is_cut_into_pieces_as_they_are_asked_for(text: str, nano: Path, engine: CTranslate2Engine) -> None:
    checkpoint, tokenizer = read_checkpoint("nano", nano, engine.vocabulary), Counting(open_tokenizer(nano))
    pipeline = Pipeline(checkpoint, detect(checkpoint, tokenizer.pieces), tokenizer, engine)
    assert len(list(islice(_read(pipeline, [text]), 10))) == 10
    assert tokenizer.characters < 10_000


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (("a",) * (MOST_TEXTS + 1), "4097 texts, and at most 4096"),
        (("a" * MOST_CHARACTERS, "b"), "1000001 characters, and at most 1000000"),
    ],
)
def test_what_is_too_much_for_one_request_is_refused_with_both_numbers(
    texts: tuple[str, ...], told: str, nano: Path, engine: CTranslate2Engine
) -> None:
    with pytest.raises(Invalid, match=told):
        _pipeline(nano, engine).plan(Translate(texts=texts, source="en", target="fr"))


@pytest.mark.parametrize("length", [1, 3, 7, 9, 500])
def test_max_input_length_counts_over_the_sentences_of_a_text(
    length: int, nano: Path, engine: CTranslate2Engine
) -> None:
    tokenizer = open_tokenizer(nano)
    sentences = ["My dog sleeps.", "The cat drinks water.", "No."]
    sent = _sent(_read(_pipeline(nano, engine), [" ".join(sentences)], length))
    whole = [piece for sentence in sentences for piece in tokenizer.pieces(sentence)]
    assert [piece for sentence in sent for piece in sentence.tokens[1:-1]] == whole[:length]


def test_an_endless_sentence_reaches_the_engine_whole(nano: Path, engine: CTranslate2Engine) -> None:
    tokenizer = open_tokenizer(nano)
    text = "my dog sleeps, " * 100 + "my cat runs " * 100 + "a" * 500
    sent = _sent(_read(_pipeline(nano, engine), [text]))
    parts = [tokenizer.text(sentence.tokens[1:-1]) for sentence in sent]
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")
    assert max(len(sentence.tokens) for sentence in sent) <= 129


def test_languages_mix_in_a_batch(nano: Path, engine: CTranslate2Engine) -> None:
    checkpoint, tokenizer = read_checkpoint("nano", nano, engine.vocabulary), open_tokenizer(nano)
    family = detect(checkpoint, tokenizer.pieces)
    wanted = {
        ("en", "fr", "My dog sleeps."): "Mon chien dort.",
        ("fr", "de", "Mon chien dort."): "Mein Hund schläft.",
        ("de", "es", "Mein Hund schläft."): "Mi perro duerme.",
        ("es", "en", "Mi perro duerme."): "My dog sleeps.",
    }
    framed = [family.frame(tokenizer.pieces(text), Pair(source, target)) for source, target, text in wanted]
    for kind in (engine, GenerateEngine(nano, device="cpu")):
        answers = [
            tokenizer.text([piece for piece in answer if piece not in family.special])
            for answer in kind.search(framed, GREEDY)
        ]
        assert answers == list(wanted.values())


def test_what_an_engine_cannot_hold_breaks_in_words(engine: CTranslate2Engine) -> None:
    too_long = Framed(("__en__", *["▁dog"] * 1000, "</s>"), ("__fr__",))
    with pytest.raises(Broken, match="smaller parts"):
        engine.search([too_long], GREEDY)
