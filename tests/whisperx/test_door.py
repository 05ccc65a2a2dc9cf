"""Speakers and aligned words through the door, as OpenAI's SDK reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import openai
import pytest
from openai.types.audio import TranscriptionDiarized, TranscriptionVerbose

from backends.base import EngineSpec, ModelSpec
from proxy.registry.models import ModelEntry, Registry
from tests.support import serve_app

pytest.importorskip("whisperx", reason="needs requirements/cuda.lock (make test-whisperx)")

pytestmark = pytest.mark.filterwarnings(r"ignore:\s*torchcodec is not installed correctly")

CLIP = Path(__file__).parents[1] / "data" / "speech" / "01.flac"


@pytest.fixture
async def client(spec: EngineSpec, nano: ModelSpec, english: Path, speakers: Path) -> AsyncIterator[openai.AsyncOpenAI]:
    engine = replace(spec, align_models={"en": str(english)}, diarization_model=str(speakers))
    ears = ModelEntry(name="ears", engine="speech", spec=nano, task="transcription")
    registry = Registry(engines={"speech": engine}, models=(ears,), defaults={"transcription": "ears"})
    async with (
        serve_app(registry) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0) as client,
    ):
        yield client


async def test_every_segment_has_its_speaker(client: openai.AsyncOpenAI) -> None:
    answer = await client.audio.transcriptions.create(
        model="ears", file=CLIP, response_format="diarized_json", chunking_strategy="auto"
    )
    assert isinstance(answer, TranscriptionDiarized)
    assert answer.text
    assert {segment.speaker for segment in answer.segments} == {"A"}


async def test_words_are_aligned(client: openai.AsyncOpenAI) -> None:
    answer = await client.audio.transcriptions.create(
        model="ears",
        file=CLIP,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        extra_body={"align": True},
    )
    assert isinstance(answer, TranscriptionVerbose)
    assert [word.word for word in answer.words or []] == answer.text.split()
    assert answer.segments and answer.words
    assert (answer.segments[0].start, answer.segments[-1].end) == (answer.words[0].start, answer.words[-1].end)
