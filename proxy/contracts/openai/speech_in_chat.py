"""Speech in chat: for models that only read, what was said takes the place of the audio; and contract 4's short form."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from typing import cast

from aiohttp import web

from backends.errors import Invalid, MediaRefused
from backends.types import Json, JsonObject, Transcribe
from proxy.contracts.openai.embedded import format_of, read_embedded
from proxy.contracts.openai.transcripts import collect
from proxy.errors import ApiError, ErrorCode, invalid
from proxy.http.observe import CALL
from proxy.keys import DISPATCHER
from proxy.registry.models import ModelEntry, Registry

COUNT_HEADER = "X-Switchboard-Transcribed"
MODEL_HEADER = "X-Switchboard-Transcribed-By"
FORMATS = ("wav", "mp3", "flac", "ogg", "opus", "m4a", "mp4", "mpeg", "mpga", "webm")
MAX_CLIPS = 16


def is_short_form(data: JsonObject) -> bool:
    """Whether a body is `{"audio": base64 or data URL, "text": ...}`; OpenAI's own `audio` (of answers) is an object."""
    return isinstance(data.get("audio"), str)


async def unfolded(data: JsonObject, registry: Registry) -> JsonObject:
    """The short form as a chat of one message; without a model the only one for text serves. Raises INVALID."""
    if "messages" in data:
        raise invalid("audio", "send `messages`, or `audio` with an optional `text`, not both")
    text = data.get("text")
    if text is not None and not isinstance(text, str):
        raise invalid("text", "it must be a string")
    spoken = await asyncio.to_thread(_part, str(data["audio"]))
    content: list[Json] = [{"type": "text", "text": text}, spoken] if text else [spoken]
    rest = {name: value for name, value in data.items() if name not in ("audio", "text")}
    only = [model.name for model in registry.models if model.task == "text"]
    if not data.get("model") and "text" not in registry.defaults and len(only) == 1:
        rest["model"] = only[0]
    return {**rest, "messages": [{"role": "user", "content": content}]}


def _part(text: str) -> JsonObject:
    """The part of a message for the short form's audio, as engines read it."""
    audio = read_embedded(text, "audio")
    clip: JsonObject = {"data": base64.b64encode(audio).decode("ascii"), "format": format_of(audio)}
    return {"type": "input_audio", "input_audio": clip}


def has_speech(messages: Json) -> bool:
    """Whether any message has an `input_audio` part."""
    return next(_clips(messages), None) is not None


async def transcribed(
    request: web.Request, entry: ModelEntry, data: JsonObject, *, named: str | None = None
) -> tuple[JsonObject, Mapping[str, str]]:
    """The body with text in the place of speech, and the headers that say so.

    named: the field that the caller sent the audio in, where it is not a message's. Raises INVALID, TOO_LARGE, BackendError.
    """
    messages = cast("list[Json]", data["messages"])
    clips = list(_clips(messages))
    if len(clips) > MAX_CLIPS:
        raise invalid(
            "messages", f"it has {len(clips)} parts of audio, and {MAX_CLIPS} are the most that are transcribed"
        )
    transcriber = _transcriber(request.app[DISPATCHER].router.registry)
    if transcriber is None:
        message = f"The model `{entry.name}` reads text only, and no model that transcribes runs in the proxy."
        raise ApiError(ErrorCode.UNSUPPORTED, message, param=named or "messages")
    for number, place, part in clips:
        text = await _words(request, transcriber, part, named or f"messages.{number}.content.{place}.input_audio")
        messages = _replaced(messages, number, place, {"type": "text", "text": text})
    return {**data, "messages": messages}, {COUNT_HEADER: str(len(clips)), MODEL_HEADER: transcriber.name}


def _transcriber(registry: Registry) -> ModelEntry | None:
    """The default model for transcription, or the first one where that is served elsewhere."""
    default = registry.defaults.get("transcription")
    here = [model for model in registry.models if model.task == "transcription" and registry.in_process(model)]
    return next((model for model in here if model.name == default), here[0] if here else None)


def _clips(messages: Json) -> Iterator[tuple[int, int, JsonObject]]:
    """Each part of speech, with the numbers of its message and its place there."""
    for number, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for place, part in enumerate(content if isinstance(content, list) else ()):
            if isinstance(part, dict) and part.get("type") == "input_audio":
                yield number, place, part


async def _words(request: web.Request, transcriber: ModelEntry, part: JsonObject, param: str) -> str:
    """What is said in one part."""
    clip = part.get("input_audio")
    if not isinstance(clip, dict) or not isinstance(clip.get("data"), str):
        raise invalid(param, "it must be an object with `data`, the audio file as base64, and `format`")
    if clip.get("format", FORMATS[0]) not in FORMATS:
        raise invalid(f"{param}.format", f"`{str(clip['format'])[:100]}` is none of {', '.join(FORMATS)}")
    audio = await asyncio.to_thread(read_embedded, str(clip["data"]), f"{param}.data")
    events = request.app[DISPATCHER].run(transcriber, Transcribe(audio=audio), request[CALL])
    try:
        async with aclosing(events):
            return (await collect(events)).text
    except Invalid as error:
        # In a JSON body it is a field that is wrong, whatever the file is: not the type of the request's media.
        code = ErrorCode.TOO_LARGE if isinstance(error, MediaRefused) and error.too_large else ErrorCode.INVALID
        raise ApiError(code, f"Invalid `{param}`: {error.message}", param=param) from error


def _replaced(messages: list[Json], number: int, place: int, part: JsonObject) -> list[Json]:
    """The messages with another part at one place; the caller's own stay as they are."""
    message = cast("JsonObject", messages[number])
    content = cast("list[Json]", message["content"])
    changed: JsonObject = {**message, "content": [*content[:place], part, *content[place + 1 :]]}
    return [*messages[:number], changed, *messages[number + 1 :]]
