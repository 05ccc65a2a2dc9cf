"""The caller's options, else the checkpoint's, within what means something."""

from __future__ import annotations

import math

import pytest

from backends.errors import Invalid
from backends.translation.decoding import MOST_BEAMS, Decoding, checkpoint_decoding, choose
from backends.types import Translate

SILENT = Decoding(beam_size=1, early_stopping=True, length_penalty=1.0, no_repeat_ngram_size=0, max_new_tokens=254)


def test_a_silent_checkpoint_is_greedy() -> None:
    assert checkpoint_decoding({}, 254) == SILENT
    assert checkpoint_decoding({}, 10_000).max_new_tokens == 512


def test_a_checkpoint_has_its_say() -> None:
    said = {"num_beams": 5, "early_stopping": False, "length_penalty": 0.5, "no_repeat_ngram_size": 3, "max_length": 20}
    assert checkpoint_decoding(said, 254) == Decoding(
        beam_size=5, early_stopping=False, length_penalty=0.5, no_repeat_ngram_size=3, max_new_tokens=254
    )


def test_the_caller_decides() -> None:
    request = Translate(
        texts=("a",), beam_size=3, early_stopping=False, length_penalty=0.0, no_repeat_ngram_size=2, max_new_tokens=7
    )
    assert choose(request, SILENT, 254) == Decoding(
        beam_size=3, early_stopping=False, length_penalty=0.0, no_repeat_ngram_size=2, max_new_tokens=7
    )
    assert choose(Translate(texts=("a",)), SILENT, 254) == SILENT


def test_at_most_what_the_model_can_hold() -> None:
    assert choose(Translate(texts=("a",), max_new_tokens=9999), SILENT, 254).max_new_tokens == 254


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("beam_size", 0),
        ("beam_size", MOST_BEAMS + 1),
        ("length_penalty", math.nan),
        ("length_penalty", math.inf),
        ("no_repeat_ngram_size", -1),
        ("max_input_length", 0),
        ("max_new_tokens", 0),
        ("batch_size", 0),
    ],
)
def test_what_means_nothing_is_refused(param: str, value: float) -> None:
    with pytest.raises(Invalid) as refused:
        choose(Translate(texts=("a",), **{param: value}), SILENT, 254)  # type: ignore[arg-type]
    assert refused.value.param == param
    assert str(value) in refused.value.message
