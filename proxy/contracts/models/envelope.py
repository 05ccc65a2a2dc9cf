"""The envelope of every message of the socket: `v, t, sid, id, seq, corr, t_wall, t_mono_ns, data`, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

from proxy.errors import ApiError, ErrorCode, invalid
from proxy.events.replay import Record
from proxy.events.values import Event

VERSION = 1
LONGEST_TEXT = 1 << 16
"""Bytes of a text message; audio comes in binary ones."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
T = TypeVar("T", bound=BaseModel)


class Strict(BaseModel):
    """An object of which every member is known, and of its own kind."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Message(Strict):
    """What a client sends. Of the envelope's other fields, which the server writes, it may send its own and need not."""

    v: Literal[1]
    t: Name
    sid: str | None = None
    id: Name | None = None
    seq: int | None = None
    corr: Name | None = None
    t_wall: str | None = None
    t_mono_ns: int | None = None
    data: dict[str, JsonValue] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a message is written. wall: seconds since 1970; mono_ns: of a clock that never goes back."""

    wall: float
    mono_ns: int


class Refused(Exception):
    """A message that is not understood. corr: its id, as far as it could be read."""

    def __init__(self, error: ApiError, corr: str | None) -> None:
        super().__init__(error.message)
        self.error = error
        self.corr = corr


def read(text: str, sid: str | None) -> Message:
    """A client's message on the socket of a session (None: of none). Raises Refused."""
    corr = None
    try:
        value = _parsed(text)
        said = value.get("id")
        corr = said if isinstance(said, str) and 0 < len(said) <= 100 else None
        if "v" in value and (value["v"] != VERSION or isinstance(value["v"], bool)):
            raise invalid("v", f"this server speaks version {VERSION} of the envelope")
        message = checked(Message, value)
        if message.sid not in (None, sid):
            raise invalid("sid", "this socket is of another session; open one for each")
    except ApiError as error:
        raise Refused(error, corr) from error
    return message


def checked(kind: type[T], value: Mapping[str, object], within: str = "") -> T:
    """An object's fields. within: what stands before their names in messages. Raises INVALID naming the field."""
    stranger = next((name for name in value if name not in kind.model_fields), None)
    if stranger is not None:
        name = f"{within}{stranger}"[:100]
        known = ", ".join(kind.model_fields) or "none"
        raise ApiError(ErrorCode.INVALID, f"`{name}` is not supported; leave it out. Known: {known}.", param=name)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = f"{within}{'.'.join(map(str, first['loc']))}"[:100]
        raise invalid(name, first["msg"][:1].lower() + first["msg"][1:]) from error


def event(record: Record, sid: str | None) -> bytes:
    """An event as a listener of this session is told it: the same id and seq whenever it is told."""
    moment = Moment(record.wall, record.mono_ns)
    return written(record.event.kind, _known(record.event), sid, f"evt_{record.seq}", record.seq, record.corr, moment)


def written(
    kind: str, data: Mapping[str, object], sid: str | None, name: str, seq: int, corr: str | None, moment: Moment
) -> bytes:
    """A message. name: its id; seq: how far the listener is when it has read this; corr: the id of what it answers."""
    wall = datetime.fromtimestamp(moment.wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return orjson.dumps(
        {
            "v": VERSION,
            "t": kind,
            "sid": sid,
            "id": name,
            "seq": seq,
            "corr": corr,
            "t_wall": wall,
            "t_mono_ns": moment.mono_ns,
            "data": data,
        }
    )


def _known(event: Event) -> dict[str, object]:
    """What is known of an event, by the names of its fields."""
    told = {field.name: getattr(event, field.name) for field in fields(event)}
    return {name: value for name, value in told.items() if value is not None}


def _parsed(text: str) -> dict[str, object]:
    if len(text) > LONGEST_TEXT or len(text.encode()) > LONGEST_TEXT:
        message = f"A text message has {LONGEST_TEXT} bytes at most; audio goes into binary ones."
        raise ApiError(ErrorCode.TOO_LARGE, message)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ApiError(ErrorCode.INVALID, f"The message is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ApiError(ErrorCode.INVALID, "A message is a JSON object: {v, t, data}.")
    return value
