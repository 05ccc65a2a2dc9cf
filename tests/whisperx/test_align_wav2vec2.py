"""Alignment with whisperX and a wav2vec2 of random weights: the same words as whisperX itself finds, without its downloads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import EngineSpec, ModelSpec
from backends.errors import Unavailable
from backends.inprocess.audio import SAMPLE_RATE, Samples, decode
from backends.inprocess.hub import Hub
from backends.types import Segment
from backends.whisper.align import Aligner
from tests.whisperx.conftest import cached

pytest.importorskip("whisperx", reason="needs requirements/cuda.lock (make test-whisperx)")

CLIP = Path(__file__).parents[1] / "data" / "speech"


@pytest.fixture(scope="module")
def samples() -> Samples:
    clip = sorted(CLIP.glob("*.wav")) or sorted(CLIP.glob("*.*"))
    return decode(clip[0].read_bytes(), max_seconds=60)


@pytest.fixture
def aligner(spec: EngineSpec, english: Path) -> Aligner:
    return Aligner(replace(spec, align_models={"en": str(english)}))


def segment(text: str, start: float, end: float) -> Segment:
    return Segment(
        id=0,
        seek=0,
        start=start,
        end=end,
        text=text,
        tokens=(),
        temperature=0.0,
        avg_logprob=-0.1,
        compression_ratio=1.0,
        no_speech_prob=0.0,
    )


class WholeText:
    """A sentence splitter that splits nothing, in place of the one that whisperX would download."""

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


@pytest.mark.parametrize("text", [" The harbour is closed", " In 2024, it's “over”!", " Größe zählt"])
def test_words_are_where_whisperx_finds_them(
    aligner: Aligner, english: Path, samples: Samples, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whisperx import alignment  # noqa: PLC0415 - needs the cuda set

    monkeypatch.setattr(alignment, "nltk_load", lambda _: WholeText())
    start, end = 0.25, 1.75
    model, metadata = alignment.load_align_model("en", "cpu", model_name=str(english), model_cache_only=True)
    theirs = alignment.align([{"start": start, "end": end, "text": text}], model, metadata, samples, "cpu")
    (ours,) = aligner.align(samples, [segment(text, start, end)], "en")
    assert [word.text for word in ours.words] == [word["word"] for word in theirs["word_segments"]]
    for mine, other in zip(ours.words, theirs["word_segments"], strict=True):
        assert (mine.start, mine.end) == pytest.approx((other["start"], other["end"]), abs=0.0021)
        assert mine.probability == pytest.approx(other["score"], abs=0.002)


def test_a_stretch_too_short_for_its_text_shares_its_time(aligner: Aligner, samples: Samples) -> None:
    (found,) = aligner.align(samples, [segment(" far too many words for this", 0.5, 0.51)], "en")
    assert [word.probability for word in found.words] == [0.0] * 6
    assert (found.start, found.end) == (0.5, 0.51)


def test_a_segment_beyond_the_end_is_no_accident(aligner: Aligner, samples: Samples) -> None:
    end = len(samples) / SAMPLE_RATE
    (found,) = aligner.align(samples, [segment(" thanks", end, end + 1)], "en")
    assert [word.text for word in found.words] == ["thanks"]


def test_a_model_is_loaded_once(aligner: Aligner, samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = aligner.align(samples, [segment(" hello", 0.2, 1.0)], "en")
    monkeypatch.setattr("backends.inprocess.hub.Hub.locate", lambda *_: pytest.fail("loaded again"))
    assert aligner.align(samples, [segment(" hello", 0.2, 1.0)], "en") == [first]


def test_a_hub_id_is_read_from_the_cache(spec: EngineSpec, english: Path, samples: Samples, tmp_path: Path) -> None:
    cached(english, tmp_path, "owner/english")
    by_id = Aligner(replace(spec, align_models={"en": "owner/english"}), Hub(cache=tmp_path))
    by_path = Aligner(replace(spec, align_models={"en": str(english)}))
    hello = [segment(" hello", 0.2, 1.0)]
    assert by_id.align(samples, hello, "en") == by_path.align(samples, hello, "en")


def test_a_directory_that_is_not_there_names_the_setting(spec: EngineSpec, samples: Samples, tmp_path: Path) -> None:
    aligner = Aligner(replace(spec, align_models={"en": str(tmp_path / "none")}))
    with pytest.raises(Unavailable, match="no directory"):
        aligner.align(samples, [segment(" hello", 0.2, 1.0)], "en")


def test_a_model_of_another_kind_is_refused(spec: EngineSpec, nano: ModelSpec, samples: Samples) -> None:
    aligner = Aligner(replace(spec, align_models={"de": nano.source}))
    with pytest.raises(Unavailable, match="WHISPERX_ALIGN_MODEL_DE names a model of type whisper"):
        aligner.align(samples, [segment(" hallo", 0.2, 1.0)], "de")


def test_a_model_without_its_vocabulary_is_refused(
    spec: EngineSpec, english: Path, samples: Samples, tmp_path: Path
) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((english / name).read_bytes())
    aligner = Aligner(replace(spec, align_models={"en": str(tmp_path)}))
    with pytest.raises(Unavailable, match="WHISPERX_ALIGN_MODEL_EN"):
        aligner.align(samples, [segment(" hello", 0.2, 1.0)], "en")
