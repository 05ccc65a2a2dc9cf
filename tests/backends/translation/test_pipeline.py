"""Batches: many sentences to one, languages mixed, none begun for nobody."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from backends.errors import Broken, Invalid
from backends.inprocess.conversion import converted
from backends.translation.checkpoint import read_checkpoint
from backends.translation.decoding import Decoding
from backends.translation.engine import CTranslate2Engine, Engine, GenerateEngine
from backends.translation.family import Framed, Pair, detect
from backends.translation.pipeline import MOST_CHARACTERS, MOST_TEXTS, Pipeline
from backends.translation.tokenizer import open_tokenizer
from backends.types import Translate

GREEDY = Decoding(beam_size=1, early_stopping=True, length_penalty=1.0, no_repeat_ngram_size=0, max_new_tokens=40)


class Recorded:
    """An engine that notes the size of each batch."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.batches: list[int] = []
        self.sentences: list[Framed] = []

    @property
    def vocabulary(self) -> frozenset[str]:
        return self._engine.vocabulary

    def search(self, sentences: Sequence[Framed], decoding: Decoding) -> list[list[str]]:
        self.batches.append(len(sentences))
        self.sentences += sentences
        return self._engine.search(sentences, decoding)


@pytest.fixture(scope="module")
def engine(nano: Path, store: Path) -> CTranslate2Engine:
    kept = converted(nano, store=store / "converted", quantization="int8", copy=(), report=lambda _: None)
    return CTranslate2Engine(kept, device="cpu", compute_type="int8")


def _pipeline(nano: Path, engine: Engine) -> Pipeline:
    checkpoint, tokenizer = read_checkpoint("nano", nano, engine.vocabulary), open_tokenizer(nano)
    return Pipeline(checkpoint, detect(checkpoint, tokenizer.pieces), tokenizer, engine)


def test_a_request_is_one_batch_until_it_is_large(nano: Path, engine: CTranslate2Engine) -> None:
    recorded = Recorded(engine)
    pipeline = _pipeline(nano, recorded)
    plan = pipeline.plan(Translate(texts=(), source="en", target="fr"))
    assert [len(done) for done in pipeline.translate(["My dog sleeps. Yes.", "42", "No."] * 20, plan)] == [60]
    assert recorded.batches == [60]
    assert [len(done) for done in pipeline.translate(["My dog sleeps. " * 600], plan)] == [0, 0, 1]
    assert recorded.batches[1:] == [256, 256, 88]


@pytest.mark.parametrize("length", [1, 3, 7, 9, 500])
def test_max_input_length_counts_over_the_sentences_of_a_text(
    length: int, nano: Path, engine: CTranslate2Engine
) -> None:
    recorded = Recorded(engine)
    pipeline, tokenizer = _pipeline(nano, recorded), open_tokenizer(nano)
    sentences = ["My dog sleeps.", "The cat drinks water.", "No."]
    plan = pipeline.plan(Translate(texts=(), source="en", target="fr", max_input_length=length))
    list(pipeline.translate([" ".join(sentences)], plan))
    whole = [piece for sentence in sentences for piece in tokenizer.pieces(sentence)]
    assert [piece for sentence in recorded.sentences for piece in sentence.tokens[1:-1]] == whole[:length]


def test_an_endless_sentence_reaches_the_engine_whole(nano: Path, engine: CTranslate2Engine) -> None:
    recorded = Recorded(engine)
    pipeline, tokenizer = _pipeline(nano, recorded), open_tokenizer(nano)
    text = "my dog sleeps, " * 100 + "my cat runs " * 100 + "a" * 500
    list(pipeline.translate([text], pipeline.plan(Translate(texts=(), source="en", target="fr"))))
    parts = [tokenizer.text(sentence.tokens[1:-1]) for sentence in recorded.sentences]
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")
    assert max(len(sentence.tokens) for sentence in recorded.sentences) <= 129


def test_long_sentences_make_small_batches(nano: Path, engine: CTranslate2Engine) -> None:
    recorded = Recorded(engine)
    pipeline = _pipeline(nano, recorded)
    plan = pipeline.plan(Translate(texts=(), source="en", target="fr", max_new_tokens=1))
    list(pipeline.translate(["my dog sleeps and " * 1000], plan))
    longest = max(len(sentence.tokens) for sentence in recorded.sentences)
    assert len(recorded.batches) > 1
    assert max(recorded.batches) * longest < 2 * 4096


@pytest.mark.parametrize("text", ["1\n" * 50_000, "My dog sleeps. " * 5000, "a" * 60_000])
def test_no_step_reads_all_of_a_long_text(text: str, nano: Path, engine: CTranslate2Engine) -> None:
    pipeline = _pipeline(nano, engine)
    plan = pipeline.plan(Translate(texts=(), source="en", target="fr", max_new_tokens=1))
    steps = pipeline.translate([text], plan)
    assert [next(steps), next(steps)] == [[], []]


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
