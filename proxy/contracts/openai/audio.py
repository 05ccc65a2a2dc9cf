"""Speech to text: an uploaded file in, its words out, in the language spoken or in English."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

from aiohttp import web

from proxy.contracts.openai.audio_fields import named_in, wants_stream
from proxy.contracts.openai.audio_form import read_question
from proxy.contracts.openai.audio_stream import transcript_frames
from proxy.contracts.openai.errors import error_frame
from proxy.contracts.openai.relaying import DONE_MARK, pass_on
from proxy.contracts.openai.transcripts import Task, collect, render
from proxy.http.multipart import Part, boundary_of, compose, read_form
from proxy.http.observe import CALL
from proxy.http.sessions import FIELD, SESSIONS, preferences
from proxy.http.stream import stream_sse
from proxy.keys import DISPATCHER, LIFECYCLE, SETTINGS
from proxy.registry.models import ModelEntry
from proxy.sessions.preferences import Preferences


async def transcriptions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/audio/transcriptions`: in the language spoken."""
    return await _answer(request, "transcribe")


async def translations(request: web.Request) -> web.StreamResponse:
    """`POST /v1/audio/translations`: in English."""
    return await _answer(request, "translate")


async def _answer(request: web.Request, task: Task) -> web.StreamResponse:
    parts = await read_form(request, int(request.app[SETTINGS].max_audio_mb * 1e6))
    wishes = await preferences(request, named_in(parts, FIELD))
    parts = [part for part in parts if part.name != FIELD]
    call = request[CALL]
    dispatcher = request.app[DISPATCHER]
    own = named_in(parts, "model")
    entry = (
        dispatcher.resolve(own, "transcription", call)
        if own
        else dispatcher.resolve_any(wishes.model("transcription"), "transcription", call)
    )
    if dispatcher.relays(entry, "POST", request.path):
        parts += _wished(wishes, parts)
        return await _pass_on(request, entry, parts)
    asked = read_question(parts, task, wishes.transcribe)
    events = dispatcher.run(await request.app[SESSIONS].placed(entry, wishes), asked.request, call)
    if asked.stream:
        return await stream_sse(request, transcript_frames(events, asked.style), error_frame)
    async with aclosing(events):
        transcript = await collect(events)
    call.first_byte()
    body, content_type = render(transcript, asked.style, task)
    response = web.Response(body=body, content_type=content_type)
    if content_type == "text/plain":
        response.charset = "utf-8"
    if asked.style.format == "jsonl":
        response.headers["Content-Disposition"] = 'attachment; filename="transcript.jsonl"'
    return response


def _wished(wishes: Preferences, parts: list[Part]) -> list[Part]:
    """What the session wants, for an engine to read, where the form does not say it. Raises UNSUPPORTED."""
    said = {part.name.removesuffix("[]") for part in parts}
    return [Part(name, text.encode()) for name, text in wishes.relayed.items() if name not in said]


async def _pass_on(request: web.Request, entry: ModelEntry, parts: list[Part]) -> web.StreamResponse:
    """The engine gets the form as it came, with its own name of the model; what it answers is its own, too."""
    stream = wants_stream(parts)
    if not any(part.name == "model" for part in parts):
        parts.append(Part("model", b""))
    named = _forms(parts, boundary_of(request), entry)
    async with request.app[LIFECYCLE].use(entry) as work:
        response = await pass_on(request, entry, named, stream=stream, terminal=DONE_MARK)
        if (passed := request[CALL].relayed) is not None:
            work.answered(passed.status, whole=passed.error is None)
    return response


def _forms(parts: list[Part], boundary: str, entry: ModelEntry) -> Callable[[str], bytes]:
    """What makes the body with a model's name as its engine says it."""

    def form(name: str) -> bytes:
        model = name.encode()
        return compose((replace(part, data=model) if part.name == "model" else part for part in parts), boundary)

    if entry.targets or entry.fallbacks:
        return form
    body = form(entry.spec.source)
    # The body holds it all; the upload need not be in memory twice for as long as the engine takes.
    parts.clear()
    return lambda _: body
