"""What the model hears, on sentences that it was never trained on."""

import asyncio
import re
from dataclasses import replace

import jiwer
import numpy as np
import pytest
from faster_whisper import WhisperModel

from backends.base import ModelSpec
from backends.inprocess.audio import SAMPLE_RATE, Samples, decode
from backends.types import Segment, Speech, Transcribe
from backends.whisper.backend import WhisperBackend
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


async def texts(
    backend: WhisperBackend, model: ModelSpec, clips: list[Clip], at_once: int, **options: object
) -> list[str]:
    """What is heard in each clip, so many of them at a time."""
    room = asyncio.Semaphore(at_once)

    async def one(clip: Clip) -> str:
        async with room:
            return await text(backend, model, replace(Transcribe(audio=clip.audio), **options))  # type: ignore[arg-type]

    return await asyncio.gather(*map(one, clips))


def error_rate(clips: list[Clip], lines: list[str]) -> float:
    return float(jiwer.wer([words(clip.text) for clip in clips], [words(line) for line in lines]))


def whispered(reference: WhisperModel, audio: Samples) -> str:
    """What faster-whisper itself hears at temperature 0: the samples that the fallback draws differ from run to run."""
    segments, _ = reference.transcribe(audio, temperature=0.0)
    return "".join(segment.text for segment in segments)


@pytest.mark.timeout(600)
async def test_words_alone_and_of_sixteen_at_once_are_those_of_faster_whisper(
    backend: WhisperBackend, nano: ModelSpec, reference: WhisperModel, clips: list[Clip]
) -> None:
    assert len(clips) >= 60
    theirs = [whispered(reference, decode(clip.audio, max_seconds=60)) for clip in clips]
    alone = await texts(backend, nano, clips, 1, temperatures=(0.0,))
    together = await texts(backend, nano, clips, 16, temperatures=(0.0,))
    assert error_rate(clips, theirs) < 0.10
    assert error_rate(clips, alone) <= error_rate(clips, theirs)
    assert error_rate(clips, together) <= error_rate(clips, theirs)
    assert sum(one == other for one, other in zip(alone, theirs, strict=True)) >= len(clips) - 2
    assert sum(one == other for one, other in zip(alone, together, strict=True)) >= len(clips) - 2


@pytest.mark.timeout(600)
async def test_asking_for_words_and_logprobs_changes_no_word(
    backend: WhisperBackend, nano: ModelSpec, clips: list[Clip]
) -> None:
    plain = await texts(backend, nano, clips[:8], 8, temperatures=(0.0,))
    assert plain == await texts(backend, nano, clips[:8], 8, temperatures=(0.0,), words=True, logprobs=True)


async def test_words_are_heard_at_the_same_times_alone_and_together(
    backend: WhisperBackend, nano: ModelSpec, clips: list[Clip]
) -> None:
    requests = [Transcribe(audio=clip.audio, words=True, temperatures=(0.0,)) for clip in clips[:4]]
    together = await asyncio.gather(*(heard(backend, nano, request) for request in requests))
    for request, (_, segments) in zip(requests, together, strict=True):
        _, alone = await heard(backend, nano, request)
        times = [(word.text, word.start, word.end) for segment in segments for word in segment.words]
        assert times
        assert times == [(word.text, word.start, word.end) for segment in alone for word in segment.words]


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


async def test_words_and_logprobs_come_only_when_asked_for(
    backend: WhisperBackend, nano: ModelSpec, clips: list[Clip]
) -> None:
    _, segments = await heard(backend, nano, Transcribe(audio=clips[1].audio))
    assert segments
    assert not any(segment.words or segment.logprobs for segment in segments)


async def test_logprobs_are_of_the_tokens_that_spell_the_text(
    backend: WhisperBackend, nano: ModelSpec, clips: list[Clip]
) -> None:
    for clip in clips[1:4]:
        _, segments = await heard(backend, nano, Transcribe(audio=clip.audio, logprobs=True))
        for segment in segments:
            assert "".join(token.token for token in segment.logprobs) == segment.text
            logprobs = [token.logprob for token in segment.logprobs if token.logprob is not None]
            assert len(logprobs) == len(segment.logprobs)
            assert max(logprobs) <= 0
            # The same tokens the decoder was sure of, up to what the times among them cost.
            assert abs(sum(logprobs) / len(logprobs) - segment.avg_logprob) < 0.5


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
