"""Whole requests with whisperX: a real Whisper, then words and speakers by models of random weights."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import EngineSpec, ModelSpec, Progress
from backends.errors import Unsupported
from backends.types import Diarize, Segment, Speech, Transcribe
from backends.whisper.backend import WhisperBackend

pytest.importorskip("whisperx", reason="needs requirements/cuda.lock (make test-whisperx)")

pytestmark = pytest.mark.filterwarnings(r"ignore:\s*torchcodec is not installed correctly")

CLIP = (Path(__file__).parents[1] / "data" / "speech" / "01.flac").read_bytes()


def ignored(_: Progress) -> None:
    pass


@pytest.fixture
async def backend(spec: EngineSpec, nano: ModelSpec, english: Path, speakers: Path) -> AsyncIterator[WhisperBackend]:
    backend = WhisperBackend(
        replace(spec, align_models={"en": str(english)}, diarization_model=str(speakers)),
    )
    await backend.load(nano, ignored)
    yield backend
    await backend.close()


async def segments(backend: WhisperBackend, model: ModelSpec, request: Transcribe) -> list[Segment]:
    events = [event async for event in backend.run(model, request)]
    assert isinstance(events[0], Speech)
    return [event for event in events if isinstance(event, Segment)]


async def test_words_and_speakers_come_with_the_text(backend: WhisperBackend, nano: ModelSpec) -> None:
    plain = await segments(backend, nano, Transcribe(audio=CLIP))
    full = await segments(backend, nano, Transcribe(audio=CLIP, align=True, diarize=Diarize()))
    assert "".join(part.text for part in full) == "".join(part.text for part in plain)
    assert [part.words for part in plain] == [()] * len(plain)
    assert [word.text for part in full for word in part.words] == "".join(part.text for part in plain).split()
    assert {part.speaker for part in plain} == {None}
    assert {part.speaker for part in full} == {"A"}


async def test_aligned_words_are_not_whispers_own(backend: WhisperBackend, nano: ModelSpec) -> None:
    own, aligned = [
        await segments(backend, nano, Transcribe(audio=CLIP, words=True, align=align)) for align in (False, True)
    ]
    assert [w.text for part in own for w in part.words] == [w.text for part in aligned for w in part.words]
    assert [w.start for part in own for w in part.words] != [w.start for part in aligned for w in part.words]


async def test_a_language_without_a_model_is_refused_before_the_file_is_read(
    spec: EngineSpec, nano: ModelSpec, english: Path
) -> None:
    backend = WhisperBackend(replace(spec, align_models={"de": str(english)}))
    await backend.load(nano, ignored)
    with pytest.raises(Unsupported, match="WHISPERX_ALIGN_MODEL_EN"):
        await segments(backend, nano, Transcribe(audio=b"", language="en", align=True))
    await backend.close()
