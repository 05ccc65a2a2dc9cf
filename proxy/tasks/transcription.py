"""Speech recognition as a task, on the engine made for it: transformers' parameters in, transformers' results out."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal, TypeAlias, cast

from backends.pipelines.inputs import Media, Wave, content
from backends.pipelines.tasks import Asked
from backends.types import JsonObject, Segment, Transcribe
from proxy.errors import ApiError, ErrorCode, invalid

Chunks: TypeAlias = Literal["none", "segments", "words"]

CHUNKS: Mapping[object, Chunks] = {False: "none", True: "segments", "word": "words"}
# transformers' name for an option -> the engine's.
OPTIONS: Mapping[str, str] = {
    "language": "language",
    "task": "task",
    "num_beams": "beam_size",
    "temperature": "temperatures",
    "length_penalty": "length_penalty",
    "compression_ratio_threshold": "compression_ratio_threshold",
    "logprob_threshold": "logprob_threshold",
    "no_speech_threshold": "no_speech_threshold",
    "condition_on_prev_tokens": "condition_on_previous_text",
}


def transcriptions(asked: Asked, base: Transcribe) -> tuple[list[Transcribe], Chunks]:
    """The engine's requests, one for each sound, and which times are wanted. base: what holds where the params say nothing.

    Blocks for as long as it takes to decode base64. Raises UNSUPPORTED for params that the engine does not have, INVALID.
    """
    said = dict(asked.params)
    wanted = said.pop("return_timestamps", False)
    if wanted not in CHUNKS:
        raise invalid("params.return_timestamps", f"`{wanted}` is none of `true`, `word`, `false` for this model")
    options = _options(said, "params")
    request: Transcribe = replace(base, words=wanted == "word", **options)  # type: ignore[arg-type]  # checked by the task's params
    sounds = asked.inputs if isinstance(asked.inputs, list) else [asked.inputs]
    return [replace(request, audio=_file(sound)) for sound in sounds], CHUNKS[wanted]


def _options(said: Mapping[str, object], where: str) -> dict[str, object]:
    """The engine's options for transformers' params."""
    options: dict[str, object] = {}
    for name, value in said.items():
        if name == "generate_kwargs":
            options |= _options(cast("Mapping[str, object]", value), f"{where}.{name}")
        elif name == "temperature":
            options["temperatures"] = tuple(value) if isinstance(value, list) else (value,)
        elif name in OPTIONS:
            options[OPTIONS[name]] = value
        else:
            known = ", ".join(("return_timestamps", *OPTIONS))
            message = (
                f"`{where}.{name}` is not supported by the engine that serves this model; leave it out. Known: {known}."
            )
            raise ApiError(ErrorCode.UNSUPPORTED, message, param=f"{where}.{name}")
    return options


def result(segments: Iterable[Segment], chunks: Chunks) -> JsonObject:
    """What transformers' pipeline returns: texts keep the space before them, so that they join to the whole."""
    segments = list(segments)
    body: JsonObject = {"text": "".join(segment.text for segment in segments)}
    match chunks:
        case "segments":
            body["chunks"] = [_chunk(s.text, s.start, s.end, s) for s in segments]
        case "words":
            body["chunks"] = [chunk for segment in segments for chunk in _words(segment)]
    return body


def _words(segment: Segment) -> Iterable[JsonObject]:
    """Each word with what stands before it in the segment: not every language puts spaces there."""
    at = 0
    for word in segment.words:
        found = segment.text.find(word.text, at)
        text = segment.text[at : found + len(word.text)] if found >= 0 else f" {word.text}"
        at += len(text) if found >= 0 else 0
        yield _chunk(text, word.start, word.end, segment)


def _chunk(text: str, start: float, end: float, segment: Segment) -> JsonObject:
    speaker: JsonObject = {} if segment.speaker is None else {"speaker": segment.speaker}
    return {"text": text, "timestamp": [start, end], **speaker}


def _file(sound: object) -> bytes:
    """The bytes of a file; samples that came as numbers as those of a WAV file."""
    if isinstance(sound, Media):
        return content(sound)
    assert isinstance(sound, Wave)
    if not 1 <= sound.rate < 1 << 31:
        raise invalid(sound.at, "no sound has so many samples a second")
    try:
        samples = struct.pack(f"<{len(sound.samples)}f", *sound.samples)
    except (struct.error, OverflowError) as error:
        raise invalid(sound.at, "send a list of numbers") from error
    head = struct.pack("<4sHHIIHH", b"fmt ", 3, 1, sound.rate, 4 * sound.rate % (1 << 32), 4, 32)
    head = head[:4] + struct.pack("<I", len(head) - 4) + head[4:]
    body = b"WAVE" + head + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body
