"""What the model hears, on sentences that it was never trained on."""

import re

import jiwer
import numpy as np
import pytest

from backends.base import ModelSpec
from backends.types import Segment, Speech, Transcribe
from backends.whisper.audio import SAMPLE_RATE, decode
from backends.whisper.backend import WhisperBackend
from backends.whisper.model import Whisper
from tests.backends.whisper.conftest import Clip
from tests.backends.whisper.containers import ENCODERS, encode


def words(text: str) -> str:
    """text as word error rates compare it: lower case, letters and apostrophes only."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


async def heard(backend: WhisperBackend, model: ModelSpec, request: Transcribe) -> tuple[Speech, list[Segment]]:
    speech, *segments = [event async for event in backend.run(model, request)]
    assert isinstance(speech, Speech)
    return speech, [segment for segment in segments if isinstance(segment, Segment)]


async def text(backend: WhisperBackend, model: ModelSpec, request: Transcribe) -> str:
    return "".join(segment.text for segment in (await heard(backend, model, request))[1])


@pytest.mark.timeout(600)
async def test_words_of_held_out_sentences_are_right(
    backend: WhisperBackend, nano: ModelSpec, clips: list[Clip]
) -> None:
    assert len(clips) >= 60
    ours = [await text(backend, nano, Transcribe(audio=clip.audio)) for clip in clips]
    assert jiwer.wer([words(clip.text) for clip in clips], [words(line) for line in ours]) < 0.10


@pytest.mark.timeout(600)
async def test_words_are_those_of_faster_whisper_itself(
    backend: WhisperBackend, nano: ModelSpec, reference: Whisper, clips: list[Clip]
) -> None:
    """Temperature 0, as the samples that the fallback draws differ from run to run."""
    for clip in clips[::2]:
        segments, _ = reference.engine.transcribe(decode(clip.audio, max_seconds=60), temperature=0.0)
        ours = await text(backend, nano, Transcribe(audio=clip.audio, temperatures=(0.0,)))
        assert ours == "".join(segment.text for segment in segments)


@pytest.mark.parametrize("name", ENCODERS)
async def test_every_container_says_the_same(
    backend: WhisperBackend, nano: ModelSpec, clips: list[Clip], name: str
) -> None:
    clip = clips[1]
    audio = encode(name, decode(clip.audio, max_seconds=60))
    assert words(await text(backend, nano, Transcribe(audio=audio))) == words(clip.text)


async def test_words_have_times_inside_their_segments(
    backend: WhisperBackend, nano: ModelSpec, clips: list[Clip]
) -> None:
    for clip in clips[1:4]:
        speech, segments = await heard(backend, nano, Transcribe(audio=clip.audio, words=True))
        last = 0.0
        for segment in segments:
            assert [word.text for word in segment.words] == segment.text.split()
            assert 0 <= last <= segment.start <= segment.end <= speech.duration
            for word in segment.words:
                assert last <= word.start <= word.end <= segment.end
                assert 0 <= word.probability <= 1
                last = word.end
        assert last > speech.duration / 2


async def test_words_come_only_when_asked_for(backend: WhisperBackend, nano: ModelSpec, clips: list[Clip]) -> None:
    _, segments = await heard(backend, nano, Transcribe(audio=clips[1].audio))
    assert segments
    assert not any(segment.words for segment in segments)


@pytest.mark.parametrize("seconds", [0.01, 1.0, 45.0])
async def test_silence_says_nothing(backend: WhisperBackend, nano: ModelSpec, seconds: float) -> None:
    silence = encode("flac", np.zeros(int(seconds * SAMPLE_RATE), np.float32))
    speech, segments = await heard(backend, nano, Transcribe(audio=silence))
    assert speech.duration == pytest.approx(seconds, abs=0.01)
    assert segments == []


async def test_long_audio_comes_in_several_segments_in_order(
    backend: WhisperBackend, nano: ModelSpec, clips: list[Clip]
) -> None:
    gap = np.zeros(5 * SAMPLE_RATE, np.float32)
    parts = [part for clip in clips[1:8] for part in (decode(clip.audio, max_seconds=60), gap)]
    speech, segments = await heard(backend, nano, Transcribe(audio=encode("flac", np.concatenate(parts)), words=True))
    assert speech.duration > 40
    assert len(segments) > 3
    assert [segment.id for segment in segments] == list(range(len(segments)))
    edges = [edge for segment in segments for edge in (segment.start, segment.end)]
    assert edges == sorted(edges)
    assert edges[-1] <= speech.duration
