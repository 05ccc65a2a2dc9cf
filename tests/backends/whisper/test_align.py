"""Word times by forced alignment: what is pure of it, and what is said where it cannot be done."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import EngineSpec
from backends.errors import Unsupported
from backends.inprocess.audio import SAMPLE_RATE, Samples
from backends.types import Segment
from backends.whisper.align import Aligner, Span, split, timed

ALIGNING = EngineSpec(name="speech", kind="whisper", align_models={"en": "/models/english"})


@dataclass
class Every:
    """A model that hears a character every `step` seconds. asked: what it was asked for."""

    step: float
    asked: list[tuple[int, str]] = field(default_factory=list)

    def find(self, samples: Samples, text: str) -> list[Span] | None:
        self.asked.append((len(samples), text))
        if len(text) * self.step > len(samples) / SAMPLE_RATE:
            return None
        return [Span(at * self.step, (at + 1) * self.step, 1 / (at + 1)) for at in range(len(text))]


def segment(text: str, start: float = 1.0, end: float = 3.0) -> Segment:
    return Segment(
        id=0,
        seek=0,
        start=start,
        end=end,
        text=text,
        tokens=(1, 2),
        temperature=0.0,
        avg_logprob=-0.1,
        compression_ratio=1.0,
        no_speech_prob=0.0,
    )


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def test_words_begin_and_end_with_their_characters() -> None:
    found = timed(segment(" Hi, you "), silence(4), "en", Every(0.1))
    assert [(word.text, word.start, word.end) for word in found.words] == [("Hi,", 1.0, 1.3), ("you", 1.4, 1.7)]
    assert [word.probability for word in found.words] == [
        round((1 + 1 / 2 + 1 / 3) / 3, 3),
        round((1 / 5 + 1 / 6 + 1 / 7) / 3, 3),
    ]


def test_a_segment_lasts_as_long_as_its_words() -> None:
    found = timed(segment(" Hi, you "), silence(4), "en", Every(0.1))
    assert (found.start, found.end, found.text) == (1.0, 1.7, " Hi, you ")


def test_the_model_hears_the_segment_alone_spelled_as_its_vocabulary_does() -> None:
    model = Every(0.1)
    timed(segment(" Hi, YOU "), silence(4), "en", model)
    assert model.asked == [(2 * SAMPLE_RATE, "hi,|you")]


@pytest.mark.parametrize("language", ["ja", "zh", "yue"])
def test_a_language_without_spaces_is_timed_by_character(language: str) -> None:
    model = Every(0.1)
    found = timed(segment("今日 は"), silence(4), language, model)
    assert model.asked == [(2 * SAMPLE_RATE, "今日は")]
    assert [(word.text, word.start) for word in found.words] == [("今", 1.0), ("日", 1.1), ("は", 1.2)]


def test_a_letter_that_is_two_in_lower_case_moves_nothing() -> None:
    found = timed(segment("İz a"), silence(4), "tr", Every(0.1))
    assert [(word.text, word.start, word.end) for word in found.words] == [("İz", 1.0, 1.3), ("a", 1.4, 1.5)]


def test_words_that_do_not_fit_share_the_time_by_length_and_say_so() -> None:
    found = timed(segment(" one three ", end=1.4), silence(4), "en", Every(0.2))
    assert [(word.text, word.start, word.end, word.probability) for word in found.words] == [
        ("one", 1.0, 1.15, 0.0),
        ("three", 1.15, 1.4, 0.0),
    ]


def test_a_segment_without_words_stays() -> None:
    model = Every(0.1)
    assert timed(segment("  "), silence(4), "en", model) == segment("  ")
    assert model.asked == []


@given(
    text=st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=60),
    language=st.sampled_from(["en", "ja", "tr"]),
    step=st.floats(0.001, 0.5),
    start=st.floats(0, 5),
    length=st.floats(0, 5),
)
def test_every_word_is_there_once_in_order_and_within_its_segment(
    text: str, language: str, step: float, start: float, length: float
) -> None:
    start, end = round(start, 3), round(start + length, 3)
    found = timed(segment(text, start, end), silence(12), language, Every(step))
    assert [word.text for word in found.words] == split(text, language)
    times = [time for word in found.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert all(start <= time <= end for time in times)


def test_without_the_package_the_refusal_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "whisperx", None)
    with pytest.raises(Unsupported, match=r"package whisperx.*requirements/cuda.lock") as refusal:
        Aligner(ALIGNING).check("en")
    assert refusal.value.param == "align"


@pytest.mark.parametrize(
    ("spec", "language", "setting"),
    [
        (ALIGNING, "de", "WHISPERX_ALIGN_MODEL_DE"),
        (EngineSpec(name="speech", kind="whisper"), "en", "WHISPERX_ALIGN_MODEL_EN"),
        (EngineSpec(name="speech", kind="whisper"), None, "WHISPERX_ALIGN_MODEL_<LANGUAGE>"),
    ],
)
def test_without_a_model_the_refusal_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, spec: EngineSpec, language: str | None, setting: str
) -> None:
    monkeypatch.setitem(sys.modules, "whisperx", sys)
    with pytest.raises(Unsupported, match=setting) as refusal:
        Aligner(spec).check(language)
    assert refusal.value.param == "align"


@pytest.mark.parametrize("language", ["en", None])
def test_a_model_for_the_language_or_for_any_while_it_is_unknown_will_do(
    monkeypatch: pytest.MonkeyPatch, language: str | None
) -> None:
    monkeypatch.setitem(sys.modules, "whisperx", sys)
    Aligner(ALIGNING).check(language)
