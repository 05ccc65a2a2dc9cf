"""`POST /asr`: what a query asks for, and answers in transformers' shape."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import cast

import pytest
from aiohttp import ClientSession, FormData

import backends
from backends.base import Backend, EngineSpec, ModelSpec
from backends.errors import Invalid, MediaRefused, Unavailable
from backends.types import Diarize, Event, Request, Segment, Speech, Transcribe, Word
from proxy.contracts.hf_server.asr import KNOWN, read_query
from proxy.errors import ApiError, ErrorCode
from proxy.registry.models import ModelEntry, Registry
from proxy.speech_options import OPTIONS
from proxy.tasks.transcription import result
from tests.support import ScriptedBackend, one_model, serve_app

NANO = Path(backends.__file__).parent / "nano"
HELLO = Segment(
    id=0, seek=0, start=0.0, end=1.5, text=" Hello, Emma.", tokens=(1, 2), temperature=0.0, avg_logprob=-0.25,
    compression_ratio=1.5, no_speech_prob=0.125, words=(Word("Hello,", 0.1, 0.4, 0.9), Word("Emma.", 0.5, 1.0, 0.8)),
)  # fmt: skip
BYE = replace(HELLO, id=1, start=1.5, end=2.0, text=" Bye.", words=(Word("Bye.", 1.6, 1.9, 0.7),))
TIMES = ("return_timestamps", "true")


def dialogue(_: Request) -> Iterable[Event | Exception]:
    return (Speech("en", 2.0), HELLO, BYE)


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend(dialogue)


@pytest.fixture
async def url(backend: ScriptedBackend) -> AsyncIterator[str]:
    registry = one_model("openai/whisper-tiny.en", "transcription")
    async with serve_app(registry, backend.create, max_audio_mb=0.1) as base:
        yield base


async def post(url: str, query: str = "", *, audio: bytes = b"RIFF", **fields: str) -> tuple[int, dict[str, object]]:
    form = FormData(fields, default_to_multipart=True)
    form.add_field("file", BytesIO(audio), filename="sample.wav", content_type="audio/wav")
    async with ClientSession() as session, session.post(f"{url}/asr{query}", data=form) as answer:
        assert answer.content_type == "application/json"
        return answer.status, await answer.json()


async def refused(url: str, query: str = "", *, audio: bytes = b"RIFF", **fields: str) -> tuple[int, str]:
    status, body = await post(url, query, audio=audio, **fields)
    assert list(body) == ["detail"]
    return status, cast("str", body["detail"])


# --------------------------------------------------------------------------- answers


@pytest.mark.parametrize("query", ["", "?model=", "?model=openai/whisper-tiny.en&return_timestamps=false"])
async def test_text_alone(url: str, query: str) -> None:
    assert await post(url, query) == (200, {"result": {"text": " Hello, Emma. Bye."}})


async def test_times_of_segments(url: str) -> None:
    _, body = await post(url, "?return_timestamps=true")
    assert body["result"] == {
        "text": " Hello, Emma. Bye.",
        "chunks": [
            {"text": " Hello, Emma.", "timestamp": [0.0, 1.5]},
            {"text": " Bye.", "timestamp": [1.5, 2.0]},
        ],
    }


async def test_times_of_words(url: str, backend: ScriptedBackend) -> None:
    _, body = await post(url, "?return_timestamps=word&language=en")
    chunks = cast("list[dict[str, object]]", cast("dict[str, object]", body["result"])["chunks"])
    assert [(chunk["text"], chunk["timestamp"]) for chunk in chunks] == [
        (" Hello,", [0.1, 0.4]),
        (" Emma.", [0.5, 1.0]),
        (" Bye.", [1.6, 1.9]),
    ]
    assert backend.requests == [Transcribe(audio=b"RIFF", language="en", words=True)]


def test_words_join_to_the_text_in_languages_without_spaces() -> None:
    words = (
        Word("今日", 0.0, 0.4, 0.9),
        Word("は", 0.4, 0.5, 0.9),
        Word("absent", 0.5, 0.6, 0.9),
        Word("晴れ", 0.6, 1, 1),
    )
    spoken = result([replace(HELLO, text="今日は、晴れ", words=words)], "words")
    assert [chunk["text"] for chunk in cast("list[dict[str, str]]", spoken["chunks"])] == [
        "今日",
        "は",
        " absent",
        "、晴れ",
    ]


async def test_speakers(url: str, backend: ScriptedBackend) -> None:
    backend.script = lambda _: (Speech("en", 2.0), replace(HELLO, speaker="A"), replace(BYE, speaker="B"))
    for query in ("?diarize=true", "?num_speakers=2&return_timestamps=true"):
        _, body = await post(url, query)
        chunks = cast("list[dict[str, object]]", cast("dict[str, object]", body["result"])["chunks"])
        assert [(chunk["speaker"], chunk["text"]) for chunk in chunks] == [("A", " Hello, Emma."), ("B", " Bye.")]
    _, body = await post(url, "?diarize=true&return_timestamps=word")
    chunks = cast("list[dict[str, object]]", cast("dict[str, object]", body["result"])["chunks"])
    assert [chunk["speaker"] for chunk in chunks] == ["A", "A", "B"]


async def test_silence_is_an_empty_text(url: str, backend: ScriptedBackend) -> None:
    backend.script = lambda _: (Speech("en", 2.0),)
    assert await post(url, "?return_timestamps=word") == (200, {"result": {"text": "", "chunks": []}})


# --------------------------------------------------------------------------- what is asked


@pytest.mark.parametrize(
    ("query", "changes"),
    [
        ([], {}),
        ([("language", "ja")], {"language": "ja"}),
        ([("languages", "ja"), ("languages", "en")], {"languages": ("ja", "en")}),
        ([("hotwords", "Emma"), ("hotwords", "")], {"hotwords": ("Emma",)}),
        ([("temperature", "0")], {"temperatures": (0.0,)}),
        ([("temperature", "0"), ("temperature", "0.5")], {"temperatures": (0.0, 0.5)}),
        ([("task", "translate")], {"task": "translate"}),
        ([("prompt", "Hi"), ("beam_size", "2")], {"prompt": "Hi", "beam_size": 2}),
        ([("condition_on_previous_text", "false")], {"condition_on_previous_text": False}),
        ([("align", "true"), TIMES], {"align": True}),
        ([("diarize", "true")], {"diarize": Diarize()}),
        ([("min_speakers", "1"), ("max_speakers", "2")], {"diarize": Diarize(min_speakers=1, max_speakers=2)}),
        ([("return_timestamps", "Word")], {"words": True}),
    ],
)
def test_parameters(query: list[tuple[str, str]], changes: dict[str, object]) -> None:
    assert read_query(query, Transcribe(audio=b"")).request == replace(Transcribe(audio=b""), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ([("return_timestamp", "true")], "return_timestamp"),
        ([("return_timestamps", "words")], "return_timestamps"),
        ([("language", "en"), ("language", "de")], "language"),
        ([("language", "en"), ("languages", "de")], "languages"),
        ([("temperature", "hot")], "temperature"),
        ([("task", "summarize")], "task"),
        ([("beam_size", "many")], "beam_size"),
        ([("align", "true")], "align"),
        ([("align", "perhaps"), TIMES], "align"),
        ([("diarize", "false"), ("num_speakers", "2")], "num_speakers"),
        ([("device", "0")], "device"),
    ],
)
def test_wrong_parameters_are_refused_by_name(query: list[tuple[str, str]], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_query(query, Transcribe(audio=b""))
    assert (caught.value.code, caught.value.param) == (ErrorCode.INVALID, param)
    assert f"`{param}`" in caught.value.message


def test_every_option_of_whisper_is_taken() -> None:
    assert {"align", "diarize", "num_speakers", "patience"} < OPTIONS <= KNOWN


# --------------------------------------------------------------------------- errors


async def test_errors_are_details(url: str, backend: ScriptedBackend) -> None:
    status, detail = await refused(url, "?model=openai/whisper/large")
    assert (status, "`openai/whisper/large` does not exist" in detail) == (404, True)
    status, detail = await refused(url, "?vad=true")
    assert (status, "`vad` is not supported" in detail) == (400, True)
    status, detail = await refused(url, language="en")
    assert (status, "send `language` in the query" in detail) == (400, True)
    assert (await refused(url, audio=b""))[0] == 400
    assert (await refused(url, audio=b"x" * 100_000))[0] == 413
    assert not backend.requests
    for error, code in (
        (MediaRefused("No audio."), 415),
        (MediaRefused("Too long.", too_large=True), 413),
        (Invalid("No such language."), 400),
        (Unavailable("Loading."), 503),
    ):
        backend.script = lambda _, error=error: (Speech("en", 1.0), error)  # type: ignore[misc]
        assert await refused(url) == (code, error.message)


async def test_bodies_that_are_no_form_with_one_file(url: str) -> None:
    async with ClientSession() as session:
        async with session.post(f"{url}/asr", data=b"RIFF") as answer:
            assert (answer.status, list(await answer.json())) == (415, ["detail"])
        async with session.get(f"{url}/asr") as answer:
            assert (answer.status, list(await answer.json())) == (405, ["detail"])
        form = FormData(default_to_multipart=True)
        async with session.post(f"{url}/asr", data=form) as answer:
            assert (answer.status, list(await answer.json())) == (400, ["detail"])
        for _ in range(2):
            form.add_field("file", BytesIO(b"RIFF"), filename="a.wav")
        async with session.post(f"{url}/asr", data=form) as answer:
            assert (answer.status, "it has 2" in (await answer.json())["detail"]) == (400, True)


async def test_a_model_on_another_engine_is_refused_with_the_way_to_it() -> None:
    gpu = EngineSpec(name="gpu", kind="vllm", urls=("http://127.0.0.1:9",))
    ears = ModelEntry(name="ears", engine="gpu", spec=ModelSpec(source="w"), task="transcription")
    registry = Registry(engines={"gpu": gpu}, models=(ears,), defaults={"transcription": "ears"})
    async with serve_app(registry) as url:
        status, detail = await refused(url)
    assert (status, "/v1/audio/transcriptions" in detail) == (400, True)


async def test_a_missing_decoder_is_told() -> None:
    def create(spec: EngineSpec) -> Backend:
        raise ModuleNotFoundError("No module named 'av'", name="av")

    async with serve_app(one_model("w", "transcription"), create) as url:
        status, detail = await refused(url)
    assert status == 503
    assert "needs a package that is not installed: av" in detail


# --------------------------------------------------------------------------- words, not shapes


async def test_the_shipped_whisper(tmp_path: Path) -> None:
    sample = (NANO / "samples" / "1_en-us.wav").read_bytes()
    registry = one_model("nano-whisper", "transcription", source=str(NANO / "whisper"), data=tmp_path)
    async with serve_app(registry) as url:
        _, body = await post(url, "?return_timestamps=word", audio=sample)
        spoken = cast("dict[str, object]", body["result"])
        chunks = cast("list[dict[str, object]]", spoken["chunks"])
        assert spoken["text"] == " Maria bought the yellow box at the hotel."
        assert "".join(cast("str", chunk["text"]) for chunk in chunks) == spoken["text"]
        starts = [cast("list[float]", chunk["timestamp"])[0] for chunk in chunks]
        assert starts == sorted(starts)
        assert (await refused(url, audio=b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"))[0] == 415
        assert (await refused(url, "?language=xx", audio=sample))[0] == 400
