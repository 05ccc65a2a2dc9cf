"""The fields of an audio form: which there are, which may be repeated, and how large they may be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from proxy.contracts.openai.chunking import BRACKETS
from proxy.contracts.openai.transcripts import Task
from proxy.errors import ApiError, ErrorCode, invalid
from proxy.http.multipart import Part
from proxy.speech_options import OPTIONS

MAX_TEXT_BYTES = 65536
# Ten seconds of what studios record in, as base64.
MAX_REFERENCE_BYTES = 8 * 2**20

_EVERYWHERE = (OPTIONS - {"language"}) | {"file", "model", "response_format", "temperature"}
_SINGLE: dict[Task, frozenset[str]] = {
    "transcribe": _EVERYWHERE | {"chunking_strategy", "language", "stream"} | BRACKETS,
    "translate": _EVERYWHERE,
}
_LISTS_EVERYWHERE = frozenset({"hotwords", "keywords", "temperature"})
_LISTS: dict[Task, frozenset[str]] = {
    "transcribe": _LISTS_EVERYWHERE
    | {"include", "known_speaker_names", "known_speaker_references", "languages", "timestamp_granularities"},
    "translate": _LISTS_EVERYWHERE,
}


@dataclass(slots=True)
class Fields:
    """A form's fields, each of them known."""

    single: dict[str, bytes] = field(default_factory=dict)
    listed: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Iterable[Part], task: Task) -> Fields:
        """Sort a form's parts. Raises INVALID for one that is unknown, too large, or there twice."""
        fields = cls()
        for part in parts:
            name = part.name.removesuffix("[]")
            if part.name in _SINGLE[task]:
                if part.name in fields.single:
                    raise _twice(part.name)
                fields.single[part.name] = part.data
            elif name in _LISTS[task]:
                fields.listed.setdefault(name, []).append(_decode(name, part.data))
            else:
                shown = part.name[:100]
                raise ApiError(ErrorCode.INVALID, f"Unknown parameter: `{shown}`.", param=shown)
        return fields

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

    def texts(self, names: Iterable[str]) -> dict[str, str]:
        """Those of several text fields that were sent."""
        return {name: text for name in names if (text := self.text(name))}

    def all(self, name: str) -> tuple[str, ...]:
        """A field that may come several times, with or without `[]` after its name."""
        return tuple(value for value in self.listed.get(name, ()) if value)


def named_in(parts: Iterable[Part], field: str) -> str | None:
    """What a form says in this field. Raises INVALID where it says it twice."""
    named = [part.data for part in parts if part.name == field]
    if len(named) > 1:
        raise _twice(field)
    return _decode(field, named[0]) or None if named else None


def wants_stream(parts: Iterable[Part]) -> bool:
    """Whether a form that is for an engine to read asks for events, in any of the words that engines take for yes."""
    return any(part.name == "stream" and part.data.lower() in (b"true", b"1", b"yes", b"on") for part in parts)


def _decode(name: str, data: bytes) -> str:
    limit = MAX_REFERENCE_BYTES if name == "known_speaker_references" else MAX_TEXT_BYTES
    if len(data) > limit:
        raise invalid(name, f"{len(data)} bytes are more than the {limit} that it may have")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid(name, "it is not UTF-8 text") from error


def _twice(name: str) -> ApiError:
    return ApiError(ErrorCode.INVALID, f"`{name}` was sent more than once.", param=name)
