"""What an audio form asks for: a request to a backend, and a style for the answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, get_args

from backends.types import Diarize, Transcribe
from proxy.contracts.openai.audio_fields import Fields
from proxy.contracts.openai.chunking import BRACKETS, read_chunking
from proxy.contracts.openai.embedded import read_embedded
from proxy.contracts.openai.transcripts import Format, Granularity, Style, Task
from proxy.errors import ApiError, ErrorCode, invalid
from proxy.http.multipart import Part
from proxy.speech_options import OPTIONS, candidates, read_flag, read_number, transcription

FORMATS: tuple[Format, ...] = get_args(Format)
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)
MAX_KNOWN_SPEAKERS = 4
MAX_NAME = 64

C = TypeVar("C", bound=str)

# What would not show in the other formats, and must not be asked for in vain.
_SHOWN_IN: dict[str, tuple[Format, ...]] = {
    "align": ("verbose_json", "srt", "vtt", "diarized_json", "jsonl"),
    "diarize": ("verbose_json", "srt", "vtt", "diarized_json", "jsonl"),
    "include[]": ("json",),
    "stream": ("json", "text", "diarized_json"),
    "timestamp_granularities[]": ("verbose_json",),
}


@dataclass(frozen=True, slots=True)
class Question:
    """What a form asks for."""

    request: Transcribe
    style: Style
    stream: bool


def read_question(parts: Iterable[Part], task: Task, base: Transcribe) -> Question:
    """The form's fields, checked; base: what holds where there is none. Raises INVALID with the field's name."""
    fields = Fields.of(parts, task)
    style = _style(fields)
    options = fields.texts(sorted(OPTIONS))
    asked = transcription(options, base)
    request = replace(
        candidates(fields.all("languages"), asked, language="language" in options),
        audio=fields.file(),
        task=task,
        hotwords=fields.all("keywords") + fields.all("hotwords"),
        temperatures=_temperatures(fields.text("temperature"), fields.all("temperature"), base.temperatures),
        words="word" in style.granularities,
        logprobs=style.logprobs,
        vad=read_chunking(fields.text("chunking_strategy"), fields.texts(sorted(BRACKETS))),
        diarize=_speakers(asked.diarize, _known_speakers(fields), style.format, fields.text("diarize")),
    )
    stream = read_flag("stream", fields.text("stream") or "false")
    _refuse_unseen(style, request, stream=stream)
    return Question(request, style, stream)


def _style(fields: Fields) -> Style:
    granularities = fields.all("timestamp_granularities")
    return Style(
        format=_choice(fields.text("response_format") or "json", "response_format", FORMATS),
        granularities=frozenset(_choice(value, "timestamp_granularities", GRANULARITIES) for value in granularities),
        logprobs="logprobs" in [_choice(value, "include", ("logprobs",)) for value in fields.all("include")],
        languages=bool(fields.all("languages")),
    )


def _choice(value: str, name: str, allowed: Sequence[C]) -> C:
    for item in allowed:
        if item == value:
            return item
    raise invalid(name, f"`{value[:100]}` is none of {', '.join(allowed)}")


def _temperatures(
    once: str | None, several: tuple[str, ...], otherwise: tuple[float, ...] | None
) -> tuple[float, ...] | None:
    """Once as `temperature`, where 0 lets the model raise it by itself where a result looks unlikely; or a list to try."""
    if once and several:
        raise invalid("temperature", "send `temperature` once, or several `temperature[]` to be tried in turn")
    if not once and not several:
        return otherwise
    values = tuple(read_number("temperature", value, 0, 1) for value in several or (once or "",))
    return values if several or any(values) else None


def _known_speakers(fields: Fields) -> tuple[tuple[str, bytes], ...]:
    """Names and samples of voices, in pairs."""
    names, references = fields.all("known_speaker_names"), fields.all("known_speaker_references")
    if len(names) != len(references):
        odd = "known_speaker_names" if len(names) > len(references) else "known_speaker_references"
        raise invalid(odd, f"{len(names)} names and {len(references)} samples make no pairs")
    if len(names) > MAX_KNOWN_SPEAKERS:
        raise invalid("known_speaker_names", f"{len(names)} are more than the {MAX_KNOWN_SPEAKERS} that may be known")
    for name in names:
        if len(name) > MAX_NAME or not name.isprintable() or names.count(name) > 1:
            raise invalid("known_speaker_names", f"`{name[:MAX_NAME]}` is no single short name of one speaker")
    return tuple(
        (name, read_embedded(text, "known_speaker_references", data_url=True))
        for name, text in zip(names, references, strict=True)
    )


def _speakers(
    asked: Diarize | None, known: tuple[tuple[str, bytes], ...], style: Format, said: str | None
) -> Diarize | None:
    """Speakers are told apart where the format is about them, where voices are known, or where it was asked for."""
    needed = f"`response_format={style}`" if style == "diarized_json" else "`known_speaker_names[]`" if known else ""
    if asked is None and not needed:
        return None
    if asked is None and said is not None:
        raise invalid("diarize", f"it is `false`, and {needed} needs it")
    return replace(asked or Diarize(), known=known)


def _refuse_unseen(style: Style, request: Transcribe, *, stream: bool) -> None:
    wanted = {
        "align": request.align,
        "diarize": request.diarize is not None,
        "include[]": style.logprobs,
        "stream": stream,
        "timestamp_granularities[]": bool(style.granularities),
    }
    for name, formats in _SHOWN_IN.items():
        if wanted[name] and style.format not in formats:
            message = f"`{name}` does not go with `response_format={style.format}`, only with: {', '.join(formats)}."
            raise ApiError(ErrorCode.INVALID, message, param=name.removesuffix("[]"))
