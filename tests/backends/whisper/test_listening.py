import itertools
import threading
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.base import ModelSpec
from backends.inprocess.audio import SAMPLE_RATE, Samples, decode
from backends.types import Speech, Transcribe, Vad
from backends.whisper.backend import WhisperBackend
from backends.whisper.listening import BLOCK, STEP, Recording, listen
from tests.backends.whisper.conftest import Clip
from tests.backends.whisper.containers import encode

WINDOW = 30 * SAMPLE_RATE
SECOND = SAMPLE_RATE


def cut(samples: Samples, size: int) -> Iterator[Samples]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def loud(*, length: int, speech: list[tuple[int, int]]) -> Samples:
    """Samples that are 1 where `find_loud` is to find speech; each sample elsewhere is a small number of its own."""
    samples = (np.arange(length) % 997 / 1e6).astype(np.float32)
    for start, end in speech:
        samples[start:end] += 1
    return samples


def find_loud(samples: Samples, options: object) -> list[dict[str, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], samples >= 1, [0]])))
    return [{"start": int(start), "end": int(end)} for start, end in zip(edges[::2], edges[1::2], strict=True)]


stretches = st.lists(st.tuples(st.integers(3 * SECOND, 60 * SECOND), st.integers(SECOND, 25 * SECOND)), max_size=8)


@settings(max_examples=30, deadline=None)
@given(stretches, st.integers(0, 50 * SECOND), st.sampled_from([7 * SECOND, 10 * SECOND, 400 * SECOND]))
def test_speech_is_the_same_however_the_file_is_read(stretches: list[tuple[int, int]], tail: int, size: int) -> None:
    speech, position = [], 0
    for silence, length in stretches:
        speech.append((position + silence, position + silence + length))
        position += silence + length
    samples = loud(length=position + tail + WINDOW + 1, speech=speech)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backends.whisper.listening.get_speech_timestamps", find_loud)
        recording = listen(cut(samples, size), None, window=WINDOW, whole=False)
    assert recording.length == len(samples)
    assert [(one.start, one.end) for one in recording.spoken] == speech
    for one in recording.spoken:
        wanted = (one.start - recording.padding, one.end + recording.padding)
        (start, end), kept = one.take(*wanted)
        assert start == max(wanted[0], 0)
        assert end == min(wanted[1], len(samples))
        assert np.array_equal(kept, samples[start:end])


def test_speech_without_end_is_settled_where_the_detector_cut_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(samples: Samples, options: object) -> list[dict[str, int]]:
        edges = [*range(0, len(samples), 29 * SECOND), len(samples)]
        return [{"start": start, "end": end} for start, end in itertools.pairwise(edges)]

    monkeypatch.setattr("backends.whisper.listening.get_speech_timestamps", find)
    samples = loud(length=3 * BLOCK, speech=[])
    spoken = listen(cut(samples, 10 * SECOND), None, window=WINDOW, whole=False).spoken
    assert (spoken[0].start, spoken[-1].end) == (0, len(samples))
    assert all(0 <= after.start - before.end <= STEP for before, after in itertools.pairwise(spoken))


def test_all_of_it_is_kept_where_that_is_wanted() -> None:
    samples = loud(length=WINDOW + SECOND, speech=[])
    kept = listen(cut(samples, SECOND), Vad(), window=WINDOW, whole=True)
    assert np.array_equal(kept.whole, samples)
    assert np.array_equal(kept.begin, samples[:WINDOW])
    assert not len(listen(cut(samples, SECOND), Vad(), window=WINDOW, whole=False).whole)


def test_real_speech_is_found_across_the_borders_of_blocks(clips: list[Clip]) -> None:
    gap = np.zeros(int(1.5 * SECOND), np.float32)
    sentences = [decode(clip.audio, max_seconds=60) for clip in clips]
    samples = np.concatenate([part for sentence in sentences for part in (sentence, gap)] * 2)
    assert len(samples) > 2 * BLOCK

    def spoken(recording: Recording) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        where = np.zeros(len(samples), bool)
        for one in recording.spoken:
            where[one.at : one.at + len(one.samples)] = True
        return where

    read = spoken(listen(cut(samples, 10 * SECOND), Vad(silence_duration_ms=500), window=WINDOW, whole=False))
    at_once = spoken(listen([samples[: BLOCK - 1]], Vad(silence_duration_ms=500), window=WINDOW, whole=False))
    assert (read[: BLOCK // 2] == at_once[: BLOCK // 2]).all()
    assert np.abs(samples[~read]).max() < 0.1
    assert read.mean() > 0.5


class Peak(threading.Thread):
    """Watches the most memory that this process has at a time, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process()
        self._done = threading.Event()
        self.start_at = self.most = self._process.memory_info().rss

    def run(self) -> None:
        while not self._done.wait(0.01):
            self.most = max(self.most, self._process.memory_info().rss)

    def grown(self) -> int:
        self._done.set()
        self.join()
        return int(self.most - self.start_at)


async def test_an_hour_of_silence_takes_little_memory(backend: WhisperBackend, nano: ModelSpec) -> None:
    """Anybody can send an hour in some hundred kilobytes."""
    silence = encode("flac", np.zeros(3600 * SECOND, np.float32))
    assert len(silence) < 1_000_000
    # The detector itself is loaded once.
    warm = Transcribe(audio=encode("flac", np.zeros(40 * SECOND, np.float32)), language="en")
    assert [event async for event in backend.run(nano, warm)]
    peak = Peak()
    peak.start()
    events = [event async for event in backend.run(nano, Transcribe(audio=silence, language="en"))]
    assert peak.grown() < 100e6
    assert events == [Speech("en", 3600.0, None)]
