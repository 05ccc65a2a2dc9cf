from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import cast

import pytest
from aiohttp import ClientSession
from openai import APIStatusError, AsyncOpenAI, BadRequestError, OpenAI
from openai.types.audio import TranscriptionDiarized, TranscriptionVerbose, TranslationVerbose

from backends.base import ModelSpec
from backends.errors import MediaRefused, Unavailable, Unsupported
from backends.types import Diarize, Event, Request, Speech, Transcribe, Vad
from tests.proxy.contracts.openai.audio_calls import PATH, form, hello, post, refused
from tests.support import ScriptedBackend, one_model, serve_app


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend(hello)


@pytest.fixture
async def url(backend: ScriptedBackend) -> AsyncIterator[str]:
    registry = one_model("whisper-x", "transcription", "whisper-1")
    async with serve_app(registry, backend.create, max_audio_mb=0.1) as base:
        yield base


def asked(backend: ScriptedBackend) -> Transcribe:
    (request,) = backend.requests
    assert isinstance(request, Transcribe)
    return request


# --------------------------------------------------------------------------- what is asked


async def test_fields_reach_the_backend(url: str, backend: ScriptedBackend) -> None:
    fields = form(
        ("model", "whisper-1"), ("language", "de"), ("prompt", "Grüße an Emma"), ("temperature", "0.4"),
        ("response_format", "verbose_json"), ("timestamp_granularities[]", "word"), ("stream", "false"),
        file=b"\x00\r\n--\xff",
    )  # fmt: skip
    status, _ = await post(url, fields)
    assert status == 200
    assert asked(backend) == Transcribe(
        audio=b"\x00\r\n--\xff", language="de", prompt="Grüße an Emma", temperatures=(0.4,), words=True
    )


@pytest.mark.parametrize("fields", [[], [("model", "")]])
async def test_without_a_model_the_default_serves(
    url: str, backend: ScriptedBackend, fields: list[tuple[str, str]]
) -> None:
    status, body = await post(url, form(*fields, ("temperature", "0"), ("language", "")))
    assert (status, body) == (200, {"text": "Hello Emma.", "usage": {"type": "duration", "seconds": 3}})
    assert asked(backend) == Transcribe(audio=b"RIFF")


@pytest.mark.parametrize("name", ["timestamp_granularities", "timestamp_granularities[]"])
async def test_lists_are_taken_with_and_without_brackets(url: str, backend: ScriptedBackend, name: str) -> None:
    _, body = await post(url, form((name, "segment"), (name, "word"), ("response_format", "verbose_json")))
    assert [word["word"] for word in cast("list[dict[str, str]]", body["words"])] == ["Hello", "Emma."]
    assert len(cast("list[object]", body["segments"])) == 1
    assert asked(backend).words


async def test_translations_ask_for_english(url: str, backend: ScriptedBackend) -> None:
    path = "/v1/audio/translations"
    status, body = await post(url, form(("prompt", "Names"), ("response_format", "verbose_json")), path)
    assert status == 200
    assert (body["task"], body["language"]) == ("translate", "english")
    assert asked(backend) == Transcribe(audio=b"RIFF", task="translate", prompt="Names")


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ([("hotword", "x")], "hotword", None),
        ([("file[]", "x")], "file[]", None),
        ([("model", "whisper-x"), ("model", "whisper-1")], "model", None),
        ([("language", "en"), ("language", "de")], "language", None),
        ([("language", b"\xff")], "language", None),
        ([("prompt", "x" * 70_000)], "prompt", None),
        ([("temperature", "1.1")], "temperature", None),
        ([("temperature", "nan")], "temperature", None),
        ([("temperature", "warm")], "temperature", None),
        ([("response_format", "xml")], "response_format", None),
        ([("timestamp_granularities[]", "word")], "timestamp_granularities", None),
        ([("timestamp_granularities", "char"), ("response_format", "verbose_json")], "timestamp_granularities", None),
        ([("stream", "maybe")], "stream", None),
        ([("stream", "true"), ("response_format", "srt")], "stream", None),
        ([("include[]", "words")], "include", None),
        ([("chunking_strategy", "manual")], "chunking_strategy", None),
        ([("known_speaker_names[]", "Emma")], "known_speaker_names", None),
    ],
)
async def test_wrong_fields_are_refused_by_name(
    url: str, backend: ScriptedBackend, fields: list[tuple[str, str | bytes]], param: str, code: str | None
) -> None:
    status, named, told, message = await refused(url, form(*fields))
    assert (status, named, told) == (400, param, code)
    assert f"`{param}" in message
    assert not backend.requests


@pytest.mark.parametrize("name", ["language", "stream", "timestamp_granularities[]", "include[]"])
async def test_translations_take_fewer_fields(url: str, name: str) -> None:
    status, param, _, _ = await refused(url, form((name, "en")), "/v1/audio/translations")
    assert (status, param) == (400, name)


async def test_null_options_are_as_if_not_sent(url: str) -> None:
    status, _ = await post(url, form(("chunking_strategy", "null"), ("include[]", "")))
    assert status == 200


async def test_a_missing_or_empty_file_is_refused(url: str) -> None:
    assert (await refused(url, form(("model", "whisper-x"), file=None)))[:2] == (400, "file")
    assert (await refused(url, form(file=b"")))[:2] == (400, "file")


async def test_unknown_models_are_not_found(url: str) -> None:
    assert (await refused(url, form(("model", "whisper-2"))))[:3] == (404, "model", "model_not_found")


async def test_files_that_the_backend_refuses(url: str, backend: ScriptedBackend) -> None:
    backend.script = lambda _: (MediaRefused("The file is not audio."),)
    assert (await refused(url, form()))[:2] == (415, "file")
    backend.script = lambda _: (Speech("en", 9e9), MediaRefused("The audio is too long.", too_large=True))
    assert (await refused(url, form()))[:2] == (413, "file")
    backend.script = lambda _: (Unavailable("Still loading."),)
    assert (await refused(url, form()))[0] == 503


async def test_bodies_that_are_no_forms(url: str) -> None:
    async with ClientSession() as session:
        async with session.post(url + PATH, json={"file": "x"}) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (415, "unsupported_media_type")
        headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Encoding": "gzip"}
        async with session.post(url + PATH, data=b"--b--", headers=headers) as answer:
            assert answer.status == 415
        for content_type in ("multipart/form-data", "multipart/form-data; boundary=" + "b" * 71):
            headers = {"Content-Type": content_type}
            async with session.post(url + PATH, data=b"--b--", headers=headers) as answer:
                assert (answer.status, "boundary" in (await answer.json())["error"]["message"]) == (400, True)


async def raw(url: str, head: str, body: bytes, *, eof: bool = False) -> bytes:
    """What the door answers to these bytes while the connection stays open."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n{head}\r\n\r\n".encode()
        )
        writer.write(body)
        if eof:
            writer.write_eof()
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return answer + await reader.readexactly(length)
    finally:
        writer.close()
        await writer.wait_closed()


FILE_HEAD = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'


async def test_a_larger_upload_than_allowed_is_refused_before_it_has_come(url: str) -> None:
    announced = await raw(url, "Content-Length: 1000000000", FILE_HEAD)
    assert announced.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"request_too_large"' in announced
    chunk = b"%x\r\n%b\r\n" % (100_001, FILE_HEAD + b"x" * (100_001 - len(FILE_HEAD)))
    assert (await raw(url, "Transfer-Encoding: chunked", chunk)).startswith(b"HTTP/1.1 413 ")


async def test_a_form_that_ends_too_early_is_refused(url: str, backend: ScriptedBackend) -> None:
    body = FILE_HEAD + b"RIFF\r\n"
    answer = await raw(url, f"Content-Length: {len(body)}", body)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"its end is missing" in answer
    assert not backend.requests


async def test_a_caller_who_leaves_stops_the_work() -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    class Patient(ScriptedBackend):
        async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
            started.set()
            try:
                yield Speech("en", 1.0)
                await asyncio.Event().wait()
            finally:
                stopped.set()

    async with serve_app(one_model("w", "transcription"), Patient(hello).create) as url, ClientSession() as session:
        call = asyncio.create_task(session.post(url + PATH, data=form()))
        await asyncio.wait_for(started.wait(), 5)
        call.cancel()
        await asyncio.wait_for(stopped.wait(), 1)


# --------------------------------------------------------------------------- through OpenAI's client


async def test_every_format_through_the_sdk(url: str) -> None:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
        create = client.audio.transcriptions.create
        file = ("a.wav", b"RIFF")
        plain = await create(file=file, model="whisper-1")
        assert plain.text == "Hello Emma."
        assert plain.usage
        assert plain.usage.to_dict() == {"type": "duration", "seconds": 3}
        assert await create(file=file, model="whisper-1", response_format="text") == "Hello Emma.\n"
        srt = await create(file=file, model="whisper-1", response_format="srt")
        assert srt == "1\n00:00:00,000 --> 00:00:01,500\nHello Emma.\n"
        vtt = await create(file=file, model="whisper-1", response_format="vtt")
        assert vtt == "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello Emma.\n"
        verbose = await create(
            file=file, model="whisper-1", response_format="verbose_json", timestamp_granularities=["word", "segment"]
        )
        assert isinstance(verbose, TranscriptionVerbose)
        assert (verbose.language, verbose.duration, verbose.text) == ("german", 2.25, "Hello Emma.")
        assert verbose.words
        assert [(word.word, word.start, word.end) for word in verbose.words] == [("Hello", 0.1, 0.4), ("Emma.", 0.5, 1)]
        assert verbose.segments
        assert verbose.segments[0].avg_logprob == -0.25
        with pytest.raises(BadRequestError) as caught:
            await create(file=file, model="whisper-1", stream=True, response_format="srt")
        assert caught.value.param == "stream"


# OpenAI deprecates the SDK's method together with the only model that it serves there.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_translations_through_the_sdk(url: str) -> None:
    def translate() -> None:
        with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            create = client.audio.translations.create
            assert create(file=("a.wav", b"RIFF"), model="whisper-1").text == "Hello Emma."
            verbose = create(file=("a.wav", b"RIFF"), model="whisper-1", response_format="verbose_json")
            assert isinstance(verbose, TranslationVerbose)
            assert verbose.language == "english"
            with pytest.raises(APIStatusError) as caught:
                create(file=("a.wav", b"x" * 100_000), model="whisper-1")
            assert caught.value.status_code == 413

    await asyncio.to_thread(translate)


async def test_text_formats_are_plain_text(url: str) -> None:
    async with ClientSession() as session:
        for style in ("text", "srt", "vtt"):
            async with session.post(url + PATH, data=form(("response_format", style))) as answer:
                assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_every_parameter_as_the_sdk_sends_it(url: str, backend: ScriptedBackend) -> None:
    voice = "data:audio/wav;base64,UklGRg=="
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        spoken = await client.audio.transcriptions.create(
            file=("a.wav", b"RIFF"),
            model="whisper-1",
            response_format="diarized_json",
            chunking_strategy={"type": "server_vad", "threshold": 0.25, "silence_duration_ms": 300},
            keywords=["Emma", "Tom Bow"],
            known_speaker_names=["Emma", "Tom"],
            known_speaker_references=[voice, voice],
            languages=["de", "en"],
            prompt="Hallo",
            temperature=0.5,
            stream=False,
            extra_body={"beam_size": 3, "condition_on_previous_text": False, "num_speakers": 2, "align": True},
        )
        assert isinstance(spoken, TranscriptionDiarized)
        assert [segment.text for segment in spoken.segments] == ["Hello Emma."]
        assert asked(backend) == Transcribe(
            audio=b"RIFF", languages=("de", "en"), prompt="Hallo", hotwords=("Emma", "Tom Bow"), temperatures=(0.5,),
            beam_size=3, condition_on_previous_text=False, vad=Vad(threshold=0.25, silence_duration_ms=300), align=True,
            diarize=Diarize(num_speakers=2, known=(("Emma", b"RIFF"), ("Tom", b"RIFF"))),
        )  # fmt: skip
        backend.requests.clear()
        plain = await client.audio.transcriptions.create(
            file=("a.wav", b"RIFF"),
            model="whisper-1",
            chunking_strategy="auto",
            include=["logprobs"],
            languages=["de"],
            extra_body={"temperature": [0, 0.2]},
        )
        assert (plain.logprobs, plain.languages and plain.languages[0].code) == ([], "de")
        assert asked(backend) == Transcribe(
            audio=b"RIFF", languages=("de",), temperatures=(0.0, 0.2), logprobs=True, vad=Vad()
        )


async def test_lines_of_json_come_as_a_file(url: str) -> None:
    async with ClientSession() as session, session.post(url + PATH, data=form(("response_format", "jsonl"))) as answer:
        assert answer.headers["Content-Type"] == "application/jsonl"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="transcript.jsonl"'
        assert await answer.read() == b'{"speaker":"unknown","text":"Hello Emma."}\n'


async def test_what_is_not_installed_or_configured_is_refused_with_the_settings_name(
    url: str, backend: ScriptedBackend
) -> None:
    backend.script = lambda _: (Unsupported("No speakers here; set DIARIZATION_MODEL.", param="diarize"),)
    for stream in ("true", "false"):
        fields = form(("response_format", "diarized_json"), ("stream", stream))
        assert await refused(url, fields) == (
            400,
            "diarize",
            "unsupported_parameter",
            "No speakers here; set DIARIZATION_MODEL.",
        )
