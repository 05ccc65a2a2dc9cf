"""Transcripts as they grow, through OpenAI's client and as bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import replace
from typing import Annotated, cast

import pytest
from aiohttp import ClientSession
from blockbuster import BlockBuster
from hypothesis import given
from hypothesis import strategies as st
from openai import APIError, AsyncOpenAI
from openai.types.audio import (
    TranscriptionStreamEvent,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionTextSegmentEvent,
)
from pydantic import Field, TypeAdapter

from backends.base import ModelSpec
from backends.errors import Broken, MediaRefused, Unavailable
from backends.types import Diarize, Event, Request, Speech, TokenLogprob, Transcribe
from proxy.contracts.openai.audio_stream import transcript_frames
from proxy.contracts.openai.transcripts import Style, Transcript
from tests.proxy.contracts.openai.audio_calls import PATH, SEGMENT, form, refused
from tests.support import ScriptedBackend, one_model, serve_app

FILE = ("a.wav", b"RIFF")
EVENT: TypeAdapter[TranscriptionStreamEvent] = TypeAdapter(
    Annotated[
        TranscriptionTextSegmentEvent | TranscriptionTextDeltaEvent | TranscriptionTextDoneEvent,
        Field(discriminator="type"),
    ]
)


def dialogue(request: Request) -> Iterable[Event | Exception]:
    first = replace(SEGMENT, logprobs=(TokenLogprob(" Hello", -0.25),), speaker="A")
    return (Speech("de", 3.25), first, replace(SEGMENT, id=1, start=1.5, end=3.0, text=" Bye. ", speaker="B"))


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend(dialogue)


@pytest.fixture
async def url(backend: ScriptedBackend) -> AsyncIterator[str]:
    async with serve_app(one_model("w", "transcription"), backend.create) as base:
        yield base


@pytest.fixture
async def sdk(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def raw(url: str, *fields: tuple[str, str]) -> list[str]:
    """The data of each event."""
    data = form(("stream", "true"), *fields)
    async with ClientSession() as session, session.post(url + PATH, data=data) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert answer.headers["X-Accel-Buffering"] == "no"
        frames = (await answer.text()).split("\n\n")
    assert frames.pop() == ""
    return [frame.removeprefix("data: ") for frame in frames]


@pytest.mark.parametrize("style", ["json", "text"])
async def test_text_comes_in_deltas_that_join_to_the_whole(sdk: AsyncOpenAI, style: str) -> None:
    stream = await sdk.audio.transcriptions.create(file=FILE, model="w", stream=True, response_format=style)  # type: ignore[call-overload]
    events = [event async for event in stream]
    *deltas, done = events
    assert all(isinstance(event, TranscriptionTextDeltaEvent) for event in deltas)
    assert [event.delta for event in deltas] == ["Hello Emma.", " Bye."]
    assert [(event.segment_id, event.logprobs) for event in deltas] == [(None, None)] * 2
    assert isinstance(done, TranscriptionTextDoneEvent)
    assert (done.text, done.logprobs, done.languages) == ("Hello Emma. Bye.", None, None)


async def test_every_event_is_of_the_sdks_type_to_the_letter(url: str) -> None:
    asked = [("include[]", "logprobs"), ("languages[]", "de"), ("languages[]", "en")]
    for fields in ([], [("response_format", "diarized_json")], asked):
        *events, done = await raw(url, *fields)
        assert done == "[DONE]"
        for event in events:
            parsed = EVENT.validate_json(event, strict=True)
            assert parsed.to_dict(exclude_unset=True) == json.loads(event), "nothing that the type does not have"


async def test_speakers_come_as_segments(sdk: AsyncOpenAI, backend: ScriptedBackend) -> None:
    stream = await sdk.audio.transcriptions.create(file=FILE, model="w", stream=True, response_format="diarized_json")
    events = [event async for event in stream]
    assert [event.type.rpartition(".")[2] for event in events] == ["delta", "segment", "delta", "segment", "done"]
    said = [event for event in events if isinstance(event, TranscriptionTextSegmentEvent)]
    assert [(e.id, e.speaker, e.start, e.end, e.text) for e in said] == [
        ("seg_000", "A", 0.0, 1.5, "Hello Emma."),
        ("seg_001", "B", 1.5, 3.0, "Bye."),
    ]
    deltas = [event for event in events if isinstance(event, TranscriptionTextDeltaEvent)]
    assert [event.segment_id for event in deltas] == ["seg_000", "seg_001"]
    assert backend.requests == [Transcribe(audio=b"RIFF", diarize=Diarize())]


async def test_log_probabilities_come_with_their_delta_and_at_the_end(sdk: AsyncOpenAI) -> None:
    stream = await sdk.audio.transcriptions.create(file=FILE, model="w", stream=True, include=["logprobs"])
    first, second, done = [event async for event in stream]
    assert isinstance(first, TranscriptionTextDeltaEvent)
    assert isinstance(second, TranscriptionTextDeltaEvent)
    assert isinstance(done, TranscriptionTextDoneEvent)
    for event in (first, done):
        assert event.logprobs
        assert [(item.token, item.logprob, item.bytes) for item in event.logprobs] == [(" Hello", -0.25, [*b" Hello"])]
    assert second.logprobs == []


async def test_the_first_delta_comes_before_the_file_is_done() -> None:
    read = asyncio.Event()

    class Slow(ScriptedBackend):
        async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
            yield Speech("en", 60.0)
            yield SEGMENT
            await asyncio.wait_for(read.wait(), 5)
            yield replace(SEGMENT, text=" More.")

    async with (
        serve_app(one_model("w", "transcription"), Slow(dialogue).create) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        stream = await client.audio.transcriptions.create(file=FILE, model="w", stream=True)
        texts = []
        async for event in stream:
            if isinstance(event, TranscriptionTextDeltaEvent):
                texts.append(event.delta)
                read.set()
        assert texts == ["Hello Emma.", " More."]


async def test_silence_is_an_empty_transcript(url: str, backend: ScriptedBackend) -> None:
    backend.script = lambda _: (Speech("en", 1.0), replace(SEGMENT, text=" "))
    (done, end) = await raw(url)
    assert json.loads(done) == {"type": "transcript.text.done", "text": ""}
    assert end == "[DONE]"


async def test_a_failure_before_the_first_event_is_a_status(url: str, backend: ScriptedBackend) -> None:
    for error, status in ((MediaRefused("No audio."), 415), (Unavailable("Still loading."), 503)):
        backend.script = lambda _, error=error: (Speech("en", 1.0), error)  # type: ignore[misc]
        assert (await refused(url, form(("stream", "true"))))[0] == status
    backend.script = lambda _: ()
    assert (await refused(url, form(("stream", "true"))))[0] == 502


async def test_a_failure_after_it_is_an_event(sdk: AsyncOpenAI, url: str, backend: ScriptedBackend) -> None:
    backend.script = lambda _: (Speech("en", 1.0), SEGMENT, Broken("Whisper failed."))
    delta, error = await raw(url)
    assert json.loads(delta)["delta"] == "Hello Emma."
    assert json.loads(error)["error"]["message"] == "Whisper failed."
    stream = await sdk.audio.transcriptions.create(file=FILE, model="w", stream=True)
    with pytest.raises(APIError, match=r"Whisper failed\."):
        _ = [event async for event in stream]


async def test_a_bug_is_told_without_its_words(
    url: str, backend: ScriptedBackend, nothing_blocks_the_loop: BlockBuster
) -> None:
    nothing_blocks_the_loop.deactivate()  # a traceback in the log reads source files
    backend.script = lambda _: (RuntimeError("secret"),)
    for stream in ("true", "false"):
        status, _, code, message = await refused(url, form(("stream", stream)))
        assert (status, code, "secret" in message) == (500, "internal_error", False)
    backend.script = lambda _: (Speech("en", 1.0), SEGMENT, RuntimeError("secret"))
    _, error = await raw(url)
    assert json.loads(error)["error"]["code"] == "internal_error"
    assert "secret" not in error


async def test_a_reader_who_leaves_stops_the_work() -> None:
    stopped = asyncio.Event()

    class Patient(ScriptedBackend):
        async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
            try:
                yield Speech("en", 1.0)
                yield SEGMENT
                await asyncio.Event().wait()
            finally:
                stopped.set()

    async with serve_app(one_model("w", "transcription"), Patient(dialogue).create) as url, ClientSession() as session:
        answer = await session.post(url + PATH, data=form(("stream", "true")))
        assert await answer.content.readany()
        answer.close()
        await asyncio.wait_for(stopped.wait(), 1)


@given(st.lists(st.text(st.sampled_from(" \nab-")), max_size=6))
async def test_deltas_join_to_the_text_of_the_whole_answer(texts: list[str]) -> None:
    segments = tuple(replace(SEGMENT, id=number, text=text) for number, text in enumerate(texts))

    async def events() -> AsyncGenerator[Event, None]:
        yield Speech("en", 1.0)
        for segment in segments:
            yield segment

    frames = [frame async for frame in transcript_frames(events(), Style())]
    *deltas, done = [cast("dict[str, str]", json.loads(frame.removeprefix(b"data: "))) for frame in frames[:-1]]
    assert "".join(delta["delta"] for delta in deltas) == done["text"] == Transcript(Speech("en", 1.0), segments).text
    assert all(delta["delta"].strip() for delta in deltas)
