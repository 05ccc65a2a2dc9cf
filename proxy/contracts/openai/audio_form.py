"""The forms of OpenAI's audio endpoints: every field of theirs, and Whisper's own options beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, get_args

import orjson

from backends.types import Diarize, Transcribe, Vad
from proxy.contracts.openai.embedded import read_embedded
from proxy.contracts.openai.transcripts import Format, Granularity, Style, Task
from proxy.errors import ApiError, ErrorCode
from proxy.http.multipart import Part
from proxy.speech_options import OPTIONS, read_flag, read_number, read_whole, transcription

FORMATS: tuple[Format, ...] = get_args(Format)
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)
MAX_TEXT_BYTES = 65536
# Ten seconds of what studios record in, as base64.
MAX_REFERENCE_BYTES = 8 * 2**20
MAX_KNOWN_SPEAKERS = 4
MAX_NAME = 64

C = TypeVar("C", bound=str)

_VAD = ("type", "threshold", "prefix_padding_ms", "silence_duration_ms")
_EVERYWHERE = (OPTIONS - {"language"}) | {"file", "model", "response_format", "temperature"}
_SINGLE: dict[Task, frozenset[str]] = {
    "transcribe": _EVERYWHERE
    | {"chunking_strategy", "language", "stream"}
    | {f"chunking_strategy[{name}]" for name in _VAD},
    "translate": _EVERYWHERE,
}
_WORDS_TO_EXPECT = frozenset({"hotwords", "keywords"})
_LISTS: dict[Task, frozenset[str]] = {
    "transcribe": _WORDS_TO_EXPECT
    | {"include", "known_speaker_names", "known_speaker_references", "languages", "temperature"}
    | {"timestamp_granularities"},
    "translate": _WORDS_TO_EXPECT | {"temperature"},
}
# What would not show in the other formats, and must not be asked for in vain.
_SHOWN_IN: dict[str, tuple[Format, ...]] = {
    "align": ("verbose_json", "srt", "vtt", "diarized_json", "jsonl"),
    "diarize": ("verbose_json", "srt", "vtt", "diarized_json", "jsonl"),
    "include": ("json",),
    "stream": ("json", "text", "diarized_json"),
    "timestamp_granularities": ("verbose_json",),
}


@dataclass(frozen=True, slots=True)
class Question:
    """What a form asks for."""

    request: Transcribe
    style: Style
    stream: bool


def model_of(parts: Iterable[Part]) -> str | None:
    """The model that a form names. Raises INVALID where it names two."""
    named = [part.data for part in parts if part.name == "model"]
    if len(named) > 1:
        raise _twice("model")
    return _decode("model", named[0]) or None if named else None


def wants_stream(parts: Iterable[Part]) -> bool:
    """Whether a form that is for an engine to read asks for events."""
    return any(part.name == "stream" and part.data.lower() == b"true" for part in parts)


def read_question(parts: Iterable[Part], task: Task) -> Question:
    """The form's fields, checked. Raises INVALID with the field's name."""
    form = _Form.of(parts, task)
    known = _known_speakers(form.lists("known_speaker_names"), form.lists("known_speaker_references"))
    languages = form.lists("languages")
    style = Style(
        format=_choice(form.text("response_format") or "json", "response_format", FORMATS),
        granularities=frozenset(
            _choice(value, "timestamp_granularities", GRANULARITIES) for value in form.lists("timestamp_granularities")
        ),
        logprobs="logprobs" in [_choice(value, "include", ("logprobs",)) for value in form.lists("include")],
        languages=bool(languages),
    )
    asked = transcription(form.file(), form.options())
    stream = read_flag("stream", form.text("stream") or "false")
    if asked.language and languages:
        raise _wrong("languages", "`language` says already which one is spoken; send one of the two")
    request = replace(
        asked,
        task=task,
        languages=languages,
        hotwords=form.lists("keywords") + form.lists("hotwords"),
        temperatures=_temperatures(form),
        words="word" in style.granularities,
        logprobs=style.logprobs,
        vad=_vad(form),
        diarize=_speakers(asked.diarize, known, style.format, form.text("diarize")),
    )
    _refuse_unseen(style, request, stream=stream)
    return Question(request, style, stream)


@dataclass(slots=True)
class _Form:
    """A form's known fields."""

    single: dict[str, bytes] = field(default_factory=dict)
    listed: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Iterable[Part], task: Task) -> _Form:
        form = cls()
        for part in parts:
            name = part.name.removesuffix("[]")
            if part.name in _SINGLE[task]:
                if part.name in form.single:
                    raise _twice(part.name)
                form.single[part.name] = part.data
            elif name in _LISTS[task]:
                form.listed.setdefault(name, []).append(_decode(name, part.data))
            else:
                shown = part.name[:100]
                raise ApiError(ErrorCode.INVALID, f"Unknown parameter: `{shown}`.", param=shown)
        return form

    def file(self) -> bytes:
        """The upload's bytes, at least one."""
        data = self.single.get("file")
        if data is None:
            raise ApiError(ErrorCode.INVALID, "Missing required parameter: `file`.", param="file")
        if not data:
            raise ApiError(ErrorCode.INVALID, "`file` is empty: send the audio file's bytes.", param="file")
        return data

    def text(self, name: str) -> str | None:
        """A text field; forms have no null, so an empty one counts as not sent."""
        return _decode(name, self.single.get(name, b"")) or None

    def lists(self, name: str) -> tuple[str, ...]:
        """A field that may come several times, with or without `[]` after its name."""
        return tuple(value for value in self.listed.get(name, ()) if value)

    def options(self) -> dict[str, str]:
        """Whisper's options."""
        return {name: text for name in sorted(self.single.keys() & OPTIONS) if (text := self.text(name))}


def _decode(name: str, data: bytes) -> str:
    limit = MAX_REFERENCE_BYTES if name == "known_speaker_references" else MAX_TEXT_BYTES
    if len(data) > limit:
        raise _wrong(name, f"{len(data)} bytes are more than the {limit} that it may have")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _wrong(name, "it is not UTF-8 text") from error


def _choice(value: str, name: str, allowed: Sequence[C]) -> C:
    for item in allowed:
        if item == value:
            return item
    raise _wrong(name, f"`{value[:100]}` is none of {', '.join(allowed)}")


def _temperatures(form: _Form) -> tuple[float, ...] | None:
    """Once as `temperature`, where 0 lets the model raise it by itself where a result looks unlikely; or a list to try."""
    once, several = form.text("temperature"), form.lists("temperature")
    if once and several:
        raise _wrong("temperature", "send `temperature` once, or several `temperature[]` to be tried in turn")
    values = tuple(read_number("temperature", value, 0, 1) for value in several or (once or "0",))
    return values if several or any(values) else None


def _vad(form: _Form) -> Vad | None:
    """`chunking_strategy`: `auto`, an object as JSON, or that object's fields in brackets, as OpenAI's SDK sends them."""
    said = form.text("chunking_strategy")
    fields = {name: text for name in _VAD if (text := form.text(f"chunking_strategy[{name}]"))}
    if said and fields:
        raise _wrong("chunking_strategy", "it was sent both as one field and as several")
    if said and said.lstrip().startswith("{"):
        fields = _vad_fields(said)
    elif said:
        return None if said == "null" else _vad_auto(said)
    if not fields:
        return None
    _choice(fields.get("type", ""), "chunking_strategy[type]", ("server_vad",))

    def milliseconds(name: str) -> int | None:
        return read_whole(f"chunking_strategy[{name}]", fields[name], 0, 60_000) if name in fields else None

    threshold = fields.get("threshold")
    return Vad(
        threshold=None if threshold is None else read_number("chunking_strategy[threshold]", threshold, 0, 1),
        prefix_padding_ms=milliseconds("prefix_padding_ms"),
        silence_duration_ms=milliseconds("silence_duration_ms"),
    )


def _vad_auto(said: str) -> Vad:
    if said != "auto":
        raise _wrong("chunking_strategy", f"`{said[:100]}` is neither `auto` nor an object of type `server_vad`")
    return Vad()


def _vad_fields(said: str) -> dict[str, str]:
    try:
        sent = orjson.loads(said)
    except orjson.JSONDecodeError as error:
        raise _wrong("chunking_strategy", "it is not valid JSON") from error
    unknown = next((name for name in sent if name not in _VAD), None)
    if unknown is not None:
        raise ApiError(
            ErrorCode.INVALID, f"Unknown parameter: `chunking_strategy.{unknown[:100]}`.", param="chunking_strategy"
        )
    return {name: str(value) for name, value in sent.items() if value is not None}


def _known_speakers(names: tuple[str, ...], references: tuple[str, ...]) -> tuple[tuple[str, bytes], ...]:
    """Names and samples of voices, in pairs."""
    if len(names) != len(references):
        pairs = f"{len(names)} names and {len(references)} samples make no pairs"
        raise _wrong("known_speaker_names" if len(names) > len(references) else "known_speaker_references", pairs)
    if len(names) > MAX_KNOWN_SPEAKERS:
        raise _wrong("known_speaker_names", f"{len(names)} are more than the {MAX_KNOWN_SPEAKERS} that may be known")
    for name in names:
        if len(name) > MAX_NAME or not name.isprintable() or names.count(name) > 1:
            raise _wrong("known_speaker_names", f"`{name[:MAX_NAME]}` is no single short name of one speaker")
    return tuple(
        (name, read_embedded(text, "known_speaker_references", data_url=True).data)
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
        raise _wrong("diarize", f"it is `false`, and {needed} needs it")
    return replace(asked or Diarize(), known=known)


def _refuse_unseen(style: Style, request: Transcribe, *, stream: bool) -> None:
    wanted = {
        "align": request.align,
        "diarize": request.diarize is not None,
        "include": style.logprobs,
        "stream": stream,
        "timestamp_granularities": bool(style.granularities),
    }
    for name, formats in _SHOWN_IN.items():
        if wanted[name] and style.format not in formats:
            shown = f"{name}[]" if name in ("include", "timestamp_granularities") else name
            message = f"`{shown}` does not go with `response_format={style.format}`, only with: {', '.join(formats)}."
            raise ApiError(ErrorCode.INVALID, message, param=name)


def _twice(name: str) -> ApiError:
    return ApiError(ErrorCode.INVALID, f"`{name}` was sent more than once.", param=name)


def _wrong(name: str, reason: str) -> ApiError:
    return ApiError(ErrorCode.INVALID, f"Invalid `{name}`: {reason}.", param=name)
