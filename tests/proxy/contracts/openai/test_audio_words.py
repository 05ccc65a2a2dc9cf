"""Words, not shapes: the shipped Whisper behind the whole door, through OpenAI's client."""

from __future__ import annotations

import asyncio
import csv
import gc
import re
from collections.abc import AsyncIterator
from pathlib import Path

import ctranslate2
import jiwer
import pytest
from faster_whisper import WhisperModel
from openai import AsyncOpenAI, OpenAI
from openai.types.audio import TranscriptionVerbose

import backends
from backends.base import EngineSpec, ModelSpec
from backends.inprocess.audio import decode
from backends.inprocess.hub import Hub
from backends.whisper.model import load
from tests.backends.whisper.containers import ENCODERS, encode
from tests.support import one_model, serve_app

NANO = Path(backends.__file__).parent / "nano" / "whisper"
SPEECH = Path(__file__).parents[3] / "data" / "speech"
MODEL = "nano-whisper"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whisper")


@pytest.fixture
async def url(data: Path) -> AsyncIterator[str]:
    async with serve_app(one_model(MODEL, "transcription", source=str(NANO), data=data)) as base:
        yield f"{base}/v1"


@pytest.fixture
async def client(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def clips() -> dict[Path, str]:
    """Audio file -> what is said in it; no shipped model was trained on it."""
    with (SPEECH / "manifest.tsv").open(encoding="utf-8", newline="") as manifest:
        return {SPEECH / row["file"]: row["text"] for row in csv.DictReader(manifest, delimiter="\t")}


def words(text: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


def by_faster_whisper(files: list[Path], data: Path) -> list[str]:
    spec = EngineSpec(name="reference", kind="whisper", data=data)
    load(ModelSpec(source=str(NANO)), spec, Hub(), lambda _: None)
    (converted,) = (path for path in (data / "conversions").iterdir() if path.is_dir())
    engine = WhisperModel(str(converted), device="cpu", compute_type="float32", local_files_only=True)
    gc.freeze()  # it collects garbage after each file that it reads: the whole test suite's, 60 times over
    try:
        return ["".join(segment.text for segment in engine.transcribe(str(file))[0]) for file in files]
    finally:
        gc.unfreeze()


@pytest.mark.timeout(600)
async def test_as_few_errors_as_faster_whisper_makes_itself(client: AsyncOpenAI, data: Path) -> None:
    corpus = clips()
    assert len(corpus) >= 60
    # Where the likeliest words look wrong, both draw others by chance: let it be the same chance.
    ctranslate2.set_random_seed(1)
    ours = [(await client.audio.transcriptions.create(file=file, model=MODEL)).text for file in corpus]
    ctranslate2.set_random_seed(1)
    theirs = await asyncio.to_thread(by_faster_whisper, list(corpus), data)
    wanted = [words(text) for text in corpus.values()]
    error_rate = jiwer.wer(wanted, [words(text) for text in ours])
    assert error_rate < 0.10
    assert error_rate <= jiwer.wer(wanted, [words(text) for text in theirs])


@pytest.mark.parametrize("container", ENCODERS)
async def test_every_container(client: AsyncOpenAI, container: str) -> None:
    file, text = list(clips().items())[1]
    audio = encode(container, decode(file.read_bytes(), max_seconds=60))
    heard = await client.audio.transcriptions.create(file=(f"a.{container}", audio), model=MODEL)
    assert words(heard.text) == words(text)


async def test_every_format_says_the_same(client: AsyncOpenAI) -> None:
    file, text = list(clips().items())[1]
    create = client.audio.transcriptions.create
    assert words(await create(file=file, model="", response_format="text")) == words(text)
    srt = await create(file=file, model=MODEL, response_format="srt", language="en")
    assert re.fullmatch(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n.+\n", srt)
    assert words(srt.splitlines()[2]) == words(text)
    vtt = await create(file=file, model=MODEL, response_format="vtt")
    assert re.fullmatch(r"WEBVTT\n\n00:00:0\d\.\d{3} --> 00:00:0\d\.\d{3}\n.+\n", vtt)
    assert words(vtt.splitlines()[3]) == words(text)
    verbose = await create(
        file=file, model=MODEL, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert isinstance(verbose, TranscriptionVerbose)
    assert (verbose.language, words(verbose.text)) == ("english", words(text))
    assert verbose.words
    assert [words(word.word) for word in verbose.words] == words(text).split()
    times = [time for word in verbose.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= verbose.duration < 10


async def test_the_blocking_client(url: str) -> None:
    file, text = list(clips().items())[1]

    def hear() -> str:
        with OpenAI(base_url=url, api_key="none", max_retries=0) as client:
            return client.audio.transcriptions.create(file=file, model=MODEL).text

    assert words(await asyncio.to_thread(hear)) == words(text)
