"""Speech in chat: as it is to engines that listen, as text to those that only read."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import cast

import pytest
from aiohttp import ClientSession
from openai import AsyncOpenAI

import backends
from backends.base import Backend, EngineSpec, ModelSpec
from backends.errors import MediaRefused, Unavailable, Unsupported
from backends.types import Chat, Delta, Event, Finish, JsonObject, Request, Speech, Transcribe, Usage
from proxy.registry.models import ModelEntry, Registry
from tests.engines.vllm_double import VllmDouble
from tests.proxy.contracts.openai.audio_calls import SEGMENT
from tests.support import ScriptedBackend, serve_app

PATH = "/v1/chat/completions"
WAV = b"RIFF....WAVE"
DATA = base64.b64encode(WAV).decode()


def clip(data: object = DATA, file_format: object = "wav") -> JsonObject:
    return cast("JsonObject", {"type": "input_audio", "input_audio": {"data": data, "format": file_format}})


def text(said: str) -> JsonObject:
    return {"type": "text", "text": said}


def chat(*parts: JsonObject, **fields: object) -> dict[str, object]:
    return {"messages": [{"role": "system", "content": "Answer."}, {"role": "user", "content": [*parts]}], **fields}


def answers(request: Request) -> Iterable[Event | Exception]:
    """Speech is heard as its bytes; a chat is answered with the texts of its last message."""
    if isinstance(request, Transcribe):
        return (Speech("en", 1.0), replace(SEGMENT, text=f" Heard {request.audio.decode()}."))
    assert isinstance(request, Chat)
    parts = cast("list[dict[str, str]]", request.messages[-1]["content"])
    return (Delta(0, "|".join(part["text"] for part in parts)), Finish(0, "stop"), Usage(1, 1))


class Doors:
    """A door with a model `reader` in this process, `remote` and `listener` on an engine, and `ears` for speech."""

    def __init__(self, url: str, engine: VllmDouble, pipeline: ScriptedBackend) -> None:
        self.url = url
        self.engine = engine
        self.pipeline = pipeline

    async def post(self, body: object) -> tuple[int, dict[str, str], dict[str, object]]:
        async with ClientSession() as session, session.post(self.url + PATH, json=body) as answer:
            return answer.status, dict(answer.headers), json.loads(await answer.read())

    async def refused(self, body: object) -> tuple[int, str | None, str]:
        status, _, answer = await self.post(body)
        error = cast("dict[str, str]", answer["error"])
        return status, error["param"], error["message"]

    def heard(self) -> list[bytes]:
        return [request.audio for request in self.pipeline.requests if isinstance(request, Transcribe)]


def registry(engine: VllmDouble, *, only: str | None = None, default: str | None = "ears") -> Registry:
    entries = [
        ModelEntry(name="reader", engine="transformers", spec=ModelSpec(source="reader"), task="text"),
        ModelEntry(name="remote", engine="gpu", spec=ModelSpec(source=engine.model), task="text"),
        ModelEntry(name="listener", engine="gpu", spec=ModelSpec(source=engine.model), task="text", audio=True),
        ModelEntry(name="remote-ears", engine="gpu", spec=ModelSpec(source="w"), task="transcription"),
        ModelEntry(name="ears", engine="whisper", spec=ModelSpec(source="ears"), task="transcription"),
    ]
    engines = {
        "gpu": EngineSpec(name="gpu", kind="vllm", urls=(engine.url,)),
        "transformers": EngineSpec(name="transformers", kind="transformers"),
        "whisper": EngineSpec(name="whisper", kind="whisper"),
    }
    chosen = tuple(entry for entry in entries if only in (None, entry.name) or entry.task != "text")
    if default is None:
        chosen = tuple(entry for entry in chosen if entry.name != "ears")
    return Registry(engines=engines, models=chosen, defaults={"transcription": default} if default else {})


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def opened(stack: AsyncExitStack, *, only: str | None = None, default: str | None = "ears") -> Doors:
    engine = await stack.enter_async_context(VllmDouble())
    pipeline = ScriptedBackend(answers)

    def create(spec: EngineSpec) -> Backend:
        return backends.create(spec) if spec.kind == "vllm" else pipeline

    url = await stack.enter_async_context(
        serve_app(registry(engine, only=only, default=default), create, max_body_mb=0.5)
    )
    return Doors(url, engine, pipeline)


@pytest.fixture
async def doors(stack: AsyncExitStack) -> Doors:
    return await opened(stack)


# --------------------------------------------------------------------------- models that only read


async def test_a_model_of_this_process_reads_what_was_said(doors: Doors) -> None:
    second = base64.b64encode(b"more").decode()
    body = chat(text("Repeat:"), clip(), text("and"), clip(second, "mp3"), model="reader")
    status, headers, answer = await doors.post(body)
    choice = cast("list[dict[str, dict[str, str]]]", answer["choices"])[0]
    assert status == 200
    assert choice["message"]["content"] == f"Repeat:|Heard {WAV.decode()}.|and|Heard more."
    assert (headers["X-Switchboard-Transcribed"], headers["X-Switchboard-Transcribed-By"]) == ("2", "ears")
    assert doors.heard() == [WAV, b"more"]
    asked = doors.pipeline.requests[-1]
    assert isinstance(asked, Chat)
    assert asked.messages[0] == {"role": "system", "content": "Answer."}


async def test_streams_say_so_too(doors: Doors) -> None:
    async with AsyncOpenAI(base_url=f"{doors.url}/v1", api_key="none", max_retries=0) as client:
        for model in ("reader", "remote"):
            raw = await client.chat.completions.with_raw_response.create(
                model=model,
                stream=True,
                messages=[
                    {
                        "role": "user",
                        "content": [{"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}}],
                    }
                ],
            )
            assert raw.headers["X-Switchboard-Transcribed"] == "1"
            assert raw.headers["X-Switchboard-Transcribed-By"] == "ears"
            assert raw.headers["Content-Type"].startswith("text/event-stream")
            said = [chunk.choices[0].delta.content or "" async for chunk in raw.parse() if chunk.choices]
            assert "".join(said).endswith(f"Heard {WAV.decode()}.")


async def test_an_engine_that_only_reads_gets_text(doors: Doors) -> None:
    body = chat(text("Repeat:"), clip(), model="remote", x_unknown={"deep": [1.5]}, max_tokens=9)
    status, headers, _ = await doors.post(body)
    assert (status, headers["X-Switchboard-Transcribed"]) == (200, "1")
    (seen,) = doors.engine.requests
    assert seen.json == {
        **body,
        "model": doors.engine.model,
        "messages": [
            {"role": "system", "content": "Answer."},
            {"role": "user", "content": [text("Repeat:"), text(f"Heard {WAV.decode()}.")]},
        ],
    }


async def test_text_alone_goes_on_as_it_came(doors: Doors) -> None:
    body = json.dumps(chat(text("Hi"), model=doors.engine.model), indent=3).replace(doors.engine.model, "remote")
    headers = {"Content-Type": "application/json"}
    async with ClientSession() as session, session.post(doors.url + PATH, data=body, headers=headers) as answer:
        assert answer.status == 200
        assert "X-Switchboard-Transcribed" not in answer.headers
    assert doors.engine.requests[0].body.decode() == body.replace("remote", doors.engine.model)
    assert not doors.heard()


# --------------------------------------------------------------------------- models that listen


async def test_an_engine_that_listens_gets_the_bytes(doors: Doors) -> None:
    body = json.dumps(chat(clip(), model="listener"), indent=1)
    headers = {"Content-Type": "application/json"}
    async with ClientSession() as session, session.post(doors.url + PATH, data=body, headers=headers) as answer:
        assert "X-Switchboard-Transcribed" not in answer.headers
        await answer.read()
    assert doors.engine.requests[0].body.decode() == body.replace("listener", doors.engine.model)
    assert not doors.heard()


# --------------------------------------------------------------------------- contract 4's short form


@pytest.mark.parametrize("audio", [DATA, f"data:audio/wav;base64,{DATA}", f"data:;base64,{DATA[:4]}\n{DATA[4:]}\n"])
async def test_the_short_form_is_a_chat_of_one_message(doors: Doors, audio: str) -> None:
    status, headers, answer = await doors.post({"audio": audio, "text": "Repeat:", "model": "reader"})
    choice = cast("list[dict[str, dict[str, str]]]", answer["choices"])[0]
    assert (status, headers["X-Switchboard-Transcribed"]) == (200, "1")
    assert choice["message"] == {"role": "assistant", "content": f"Repeat:|Heard {WAV.decode()}.", "refusal": None}
    assert doors.heard() == [WAV]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"RIFF....WAVE", "wav"),
        (b"fLaC....", "flac"),
        (b"OggS....", "ogg"),
        (b"\x1aE\xdf\xa3....", "webm"),
        (b"....ftypM4A ", "m4a"),
        (b"ID3.....", "mp3"),
    ],
)
async def test_the_short_form_for_an_engine_that_listens(doors: Doors, data: bytes, told: str) -> None:
    sent = base64.b64encode(data).decode()
    status, headers, _ = await doors.post({"audio": sent, "model": "listener", "temperature": 0.5})
    assert (status, "X-Switchboard-Transcribed" in headers) == (200, False)
    assert doors.engine.requests[0].json == {
        "model": doors.engine.model,
        "temperature": 0.5,
        "messages": [{"role": "user", "content": [clip(sent, told)]}],
    }


async def test_the_only_text_model_needs_no_name(stack: AsyncExitStack, doors: Doors) -> None:
    assert (await doors.refused({"audio": DATA}))[:2] == (400, "model")
    one = await opened(stack, only="reader")
    assert (await one.post({"audio": DATA}))[0] == 200
    assert (await one.post({"audio": DATA, "model": ""}))[0] == 200
    relayed = await opened(stack, only="remote")
    assert (await relayed.post({"audio": DATA}))[0] == 200
    assert relayed.engine.requests[0].json["model"] == relayed.engine.model


# --------------------------------------------------------------------------- what is refused

CLIP = "messages.1.content.0.input_audio"


@pytest.mark.parametrize("model", ["reader", "remote"])
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"audio": "/etc/passwd", "text": "Hi"}, "audio"),
        ({"audio": "audio.wav"}, "audio"),
        ({"audio": "https://example.com/a.wav"}, "audio"),
        ({"audio": "file:///etc/passwd"}, "audio"),
        ({"audio": "data:audio/wav,RIFF"}, "audio"),
        ({"audio": ""}, "audio"),
        ({"audio": "data:audio/wav;base64,"}, "audio"),
        ({"audio": DATA, "text": 3}, "text"),
        ({"audio": DATA, "messages": []}, "audio"),
        (chat(clip("/etc/passwd")), f"{CLIP}.data"),
        (chat(clip("http://127.0.0.1/a.wav")), f"{CLIP}.data"),
        (chat(clip(None)), CLIP),
        (chat({"type": "input_audio"}), CLIP),
        (chat({"type": "input_audio", "input_audio": DATA}), CLIP),
        (chat(clip(DATA, "midi")), f"{CLIP}.format"),
        (chat(clip(DATA, None)), f"{CLIP}.format"),
        (chat(clip(DATA, ["wav"])), f"{CLIP}.format"),
        (chat(*[clip()] * 17), "messages"),
    ],
)
async def test_bad_audio_is_refused_by_name(doors: Doors, body: dict[str, object], param: str, model: str) -> None:
    status, named, message = await doors.refused({**body, "model": model})
    assert (status, named) == (400, param)
    assert f"`{param}`" in message
    assert not doors.engine.requests
    assert not doors.pipeline.requests


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MediaRefused("The file is not audio."), 400),
        (MediaRefused("The audio is too long.", too_large=True), 413),
        (Unsupported("No."), 400),
        (Unavailable("Still loading."), 503),
    ],
)
async def test_what_cannot_be_transcribed_says_which_part(doors: Doors, error: Exception, status: int) -> None:
    doors.pipeline.script = lambda _: (error,)
    for body, param in ((chat(text("Hi"), clip()), "messages.1.content.1.input_audio"), ({"audio": DATA}, "audio")):
        answer = await doors.refused({**body, "model": "remote"})
        assert answer[:2] == (status, None if status == 503 else param)
    assert not doors.engine.requests


async def test_without_a_model_for_speech_it_says_so(stack: AsyncExitStack) -> None:
    doors = await opened(stack, default=None)
    status, param, message = await doors.refused(chat(clip(), model="reader"))
    assert (status, param) == (400, "messages")
    assert "no model that transcribes" in message
    assert (await doors.post(chat(clip(), model="listener")))[0] == 200


async def test_an_engine_elsewhere_does_not_transcribe_for_chats(stack: AsyncExitStack) -> None:
    doors = await opened(stack, default="remote-ears")
    status, headers, _ = await doors.post(chat(clip(), model="reader"))
    assert (status, headers["X-Switchboard-Transcribed-By"]) == (200, "ears")


async def test_openais_own_audio_field_is_no_short_form(doors: Doors) -> None:
    body = chat(text("Hi"), model="remote", audio={"format": "wav", "voice": "alloy"})
    assert (await doors.post(body))[0] == 200
    assert doors.engine.requests[0].json["audio"] == {"format": "wav", "voice": "alloy"}


async def test_odd_messages_are_the_engines_business(doors: Doors) -> None:
    odd = {"model": "listener", "messages": [3, {"content": [3, {"type": 3}]}, {"content": {"a": 1}}]}
    await doors.post(odd)
    assert doors.engine.requests[0].json["messages"] == odd["messages"]
    assert (await doors.refused({**odd, "model": "reader"}))[0] == 400
