"""Speech to text: an uploaded file in, its words out, in the language spoken or in English."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar, get_args

from aiohttp import web

from backends.types import Transcribe
from proxy.contracts.openai.transcripts import Format, Granularity, Task, collect, render
from proxy.errors import ApiError, ErrorCode
from proxy.http.multipart import Part, read_form
from proxy.http.observe import CALL
from proxy.keys import DISPATCHER, SETTINGS

FORMATS: tuple[Format, ...] = get_args(Format)
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)
MAX_TEXT_BYTES = 65536

C = TypeVar("C", bound=str)

_EVERYWHERE = frozenset({"file", "model", "prompt", "response_format", "temperature"})
_SINGLE: dict[Task, frozenset[str]] = {
    "transcribe": _EVERYWHERE | {"language", "stream"},
    "translate": _EVERYWHERE,
}
_LISTS: dict[Task, frozenset[str]] = {"transcribe": frozenset({"timestamp_granularities"}), "translate": frozenset()}
# In OpenAI's API, but not something that a model here does.
_NOT_OFFERED = frozenset(
    {
        "chunking_strategy",
        "include",
        "keywords",
        "known_speaker_names",
        "known_speaker_references",
        "languages",
    }
)


async def transcriptions(request: web.Request) -> web.Response:
    """`POST /v1/audio/transcriptions`: in the language spoken."""
    return await _answer(request, "transcribe")


async def translations(request: web.Request) -> web.Response:
    """`POST /v1/audio/translations`: in English."""
    return await _answer(request, "translate")


async def _answer(request: web.Request, task: Task) -> web.Response:
    parts = await read_form(request, int(request.app[SETTINGS].max_audio_mb * 1e6))
    asked = read_question(parts, task)
    call = request[CALL]
    dispatcher = request.app[DISPATCHER]
    entry = dispatcher.resolve(asked.model, "transcription", call)
    async with aclosing(dispatcher.run(entry, asked.request, call)) as events:
        transcript = await collect(events)
    call.first_byte()
    body, content_type = render(transcript, asked.style, task, asked.granularities)
    charset = None if content_type == "application/json" else "utf-8"
    return web.Response(body=body, content_type=content_type, charset=charset)


@dataclass(frozen=True, slots=True)
class Question:
    """What a form asks for. model: None = the default one."""

    request: Transcribe
    model: str | None
    style: Format
    granularities: frozenset[Granularity]


def read_question(parts: Iterable[Part], task: Task) -> Question:
    """The form's fields, checked. Raises INVALID, or UNSUPPORTED, with the field's name."""
    form = _Form.of(parts, task)
    style = _choice(form.text("response_format") or "json", "response_format", FORMATS)
    granularities = frozenset(_choice(value, "timestamp_granularities", GRANULARITIES) for value in form.granularities)
    if granularities and style != "verbose_json":
        message = "`timestamp_granularities[]` needs `response_format=verbose_json`."
        raise ApiError(ErrorCode.INVALID, message, param="timestamp_granularities")
    _refuse_stream(form.text("stream"))
    request = Transcribe(
        audio=form.file(),
        task=task,
        language=form.text("language"),
        prompt=form.text("prompt"),
        temperatures=_temperatures(form.text("temperature")),
        words="word" in granularities,
    )
    return Question(request, form.text("model"), style, granularities)


@dataclass(slots=True)
class _Form:
    """A form's known fields."""

    single: dict[str, bytes] = field(default_factory=dict)
    granularities: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, parts: Iterable[Part], task: Task) -> _Form:
        form = cls()
        for part in parts:
            if part.name in _SINGLE[task]:
                if part.name in form.single:
                    raise ApiError(ErrorCode.INVALID, f"`{part.name}` was sent more than once.", param=part.name)
                form.single[part.name] = part.data
            elif part.name.removesuffix("[]") in _LISTS[task]:
                form.granularities.append(_decode(part.name, part.data))
            else:
                _refuse(part, task)
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


def _decode(name: str, data: bytes) -> str:
    if len(data) > MAX_TEXT_BYTES:
        message = f"Invalid `{name}`: {len(data)} bytes are more than the {MAX_TEXT_BYTES} that it may have."
        raise ApiError(ErrorCode.INVALID, message, param=name)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ApiError(ErrorCode.INVALID, f"Invalid `{name}`: it is not UTF-8 text.", param=name) from error


def _refuse(part: Part, task: Task) -> None:
    """Say no to a field that is not ours, by its name. Raises INVALID or UNSUPPORTED."""
    name = part.name.partition("[")[0]
    if task == "translate" or name not in _NOT_OFFERED:
        shown = part.name[:100]
        raise ApiError(ErrorCode.INVALID, f"Unknown parameter: `{shown}`.", param=shown)
    if part.data not in (b"", b"null"):
        message = f"The models here do not support `{name}`; leave it out."
        raise ApiError(ErrorCode.UNSUPPORTED, message, param=name)


def _refuse_stream(value: str | None) -> None:
    match value and value.lower():
        case None | "false":
            return
        case "true":
            message = "Transcripts are not streamed here; leave `stream` out."
            raise ApiError(ErrorCode.UNSUPPORTED, message, param="stream")
        case _:
            raise ApiError(ErrorCode.INVALID, "Invalid `stream`: it is `true` or `false`.", param="stream")


def _choice(value: str, name: str, allowed: Sequence[C]) -> C:
    for item in allowed:
        if item == value:
            return item
    if value == "diarized_json":
        message = "`diarized_json` is not supported: the models here do not tell speakers apart."
        raise ApiError(ErrorCode.UNSUPPORTED, message, param=name)
    message = f"Invalid `{name}`: `{value[:100]}` is none of {', '.join(allowed)}."
    raise ApiError(ErrorCode.INVALID, message, param=name)


def _temperatures(value: str | None) -> tuple[float, ...] | None:
    """None (sent as 0, or not at all) lets the model raise it by itself where a result looks unlikely."""
    try:
        temperature = float(value or 0)
    except ValueError:
        temperature = math.nan
    if not 0 <= temperature <= 1:
        message = f"Invalid `temperature`: `{str(value)[:100]}` is not a number from 0 to 1."
        raise ApiError(ErrorCode.INVALID, message, param="temperature")
    return (temperature,) if temperature else None
