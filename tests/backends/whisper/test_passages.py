from itertools import pairwise

import numpy as np
import pytest
from faster_whisper.vad import VadOptions
from hypothesis import given
from hypothesis import strategies as st

from backends.inprocess.audio import SAMPLE_RATE, Samples, decode
from backends.types import Vad
from backends.whisper import passages as cutting
from backends.whisper.listening import Span, listen
from backends.whisper.passages import Passage
from tests.backends.whisper.conftest import Clip

WINDOW = 30 * SAMPLE_RATE


@pytest.fixture(scope="session")
def sentences(clips: list[Clip]) -> list[Samples]:
    return [decode(clip.audio, max_seconds=60) for clip in clips[:30]]


def passages(samples: Samples, vad: Vad | None, *, window: int, together: bool) -> list[Passage]:
    recording = listen([samples], vad, window=window, whole=False)
    return cutting.passages(recording, window=window, together=together)


def with_gaps(parts: list[Samples], seconds: float) -> Samples:
    gap = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    return np.concatenate([part for one in parts for part in (one, gap)])


def scripted(monkeypatch: pytest.MonkeyPatch, *speech: tuple[float, float]) -> None:
    """Let the detector find speech at these seconds."""
    found = [{"start": int(start * SAMPLE_RATE), "end": int(end * SAMPLE_RATE)} for start, end in speech]
    monkeypatch.setattr("backends.whisper.listening.get_speech_timestamps", lambda *_: found)


def seconds(found: list[Passage]) -> list[list[tuple[float, float]]]:
    return [[(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in passage.spans] for passage in found]


def test_short_audio_is_taken_whole_and_not_searched(sentences: list[Samples]) -> None:
    (passage,) = passages(sentences[0], None, window=WINDOW, together=False)
    assert np.array_equal(passage.samples, sentences[0])
    assert passage.stretch(0.5, 1.0) == (0.5, 1.0)


@pytest.mark.parametrize("window", [WINDOW, WINDOW // 3])
def test_long_speech_is_cut_into_windows_at_silences_and_all_of_it_is_there(
    sentences: list[Samples], window: int
) -> None:
    samples = with_gaps(sentences, 1.0)
    found = passages(samples, None, window=window, together=False)
    assert len(found) > 60 * SAMPLE_RATE // window
    spans = [span for passage in found for span in passage.spans]
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert all(len(passage.samples) <= window for passage in found)
    for passage in found:
        assert np.array_equal(passage.samples, np.concatenate([samples[start:end] for start, end in passage.spans]))
    quiet = np.ones(len(samples), bool)
    for start, end in spans:
        quiet[start:end] = False
    assert np.abs(samples[quiet]).max(initial=0) < 0.05


def test_together_it_is_one_passage(sentences: list[Samples]) -> None:
    samples = with_gaps(sentences, 3.0)
    (passage,) = passages(samples, None, window=WINDOW, together=True)
    apart = passages(samples, None, window=WINDOW, together=False)
    assert passage.spans == tuple(span for one in apart for span in one.spans)


def test_silence_has_no_passages() -> None:
    assert passages(np.zeros(2 * WINDOW, np.float32), None, window=WINDOW, together=False) == []
    assert passages(np.zeros(2 * WINDOW, np.float32), None, window=WINDOW, together=True) == []


def test_padding_takes_no_more_than_half_of_a_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (0.25, 2.0), (2.5, 20.0), (24.0, 40.0))
    found = passages(np.zeros(41 * SAMPLE_RATE, np.float32), Vad(), window=WINDOW, together=False)
    assert seconds(found) == [[(0.0, 2.25), (2.25, 20.4)], [(23.6, 40.4)]]


def test_speech_cut_without_a_breath_is_decoded_from_beginning_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (1.0, 30.0), (30.032, 45.0), (47.0, 50.0))
    found = passages(np.zeros(59 * SAMPLE_RATE, np.float32), None, window=WINDOW, together=False)
    assert seconds(found) == [[(0.6, 30.016), (30.016, 45.4)], [(46.6, 50.4)]]


def told_by(monkeypatch: pytest.MonkeyPatch) -> list[VadOptions]:
    """What the detector is told, which finds nothing."""
    told: list[VadOptions] = []

    def search(_: Samples, options: VadOptions) -> list[dict[str, int]]:
        told.append(options)
        return []

    monkeypatch.setattr("backends.whisper.listening.get_speech_timestamps", search)
    return told


def test_the_detector_is_told_what_the_caller_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    told = told_by(monkeypatch)
    passages(np.zeros(WINDOW, np.float32), Vad(threshold=0.7, silence_duration_ms=300), window=WINDOW, together=False)
    assert (told[0].threshold, told[0].min_silence_duration_ms) == (0.7, 300)


def test_padding_that_fills_the_window_leaves_half_of_it_for_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    told = told_by(monkeypatch)
    passages(np.zeros(WINDOW, np.float32), Vad(prefix_padding_ms=5000), window=10 * SAMPLE_RATE, together=False)
    assert told[0].max_speech_duration_s == 5


spans = st.lists(st.integers(1, 20 * SAMPLE_RATE), min_size=2, max_size=12).map(
    lambda sizes: [
        (sum(sizes[:number]), sum(sizes[: number + 1])) for number in range(0, len(sizes) - len(sizes) % 2, 2)
    ]
)


@given(spans, st.floats(0, 1), st.floats(0, 1))
def test_times_are_inside_of_the_spans_and_in_order(spans: list[Span], one: float, other: float) -> None:
    length = sum(end - start for start, end in spans) / SAMPLE_RATE
    passage = Passage(np.empty(0, np.float32), tuple(spans))
    first, last = sorted((one * length, other * length))
    start, end = passage.stretch(first, last)
    assert start <= end + 1e-3 or first == last
    for time in (start, end):
        assert any(begin - 1 <= time * SAMPLE_RATE <= stop + 1 for begin, stop in spans)
    start, end = passage.moment(first, last)
    assert end - start == pytest.approx(last - first)


def test_a_segment_that_ends_where_a_silence_was_left_out_ends_before_it() -> None:
    second = SAMPLE_RATE
    passage = Passage(np.empty(0, np.float32), ((1 * second, 3 * second), (10 * second, 12 * second)))
    assert passage.stretch(0.0, 2.0) == (1.0, 3.0)
    assert passage.stretch(2.0, 4.0) == (10.0, 12.0)
    assert passage.stretch(1.0, 3.0) == (2.0, 11.0)
    start, end = passage.moment(1.9, 2.3)
    assert start == pytest.approx(9.9)
    assert end == pytest.approx(10.3)
