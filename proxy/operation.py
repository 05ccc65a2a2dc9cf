"""What one path does, in the words of OpenAPI: each contract keeps a table of these beside its routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from backends.types import JsonObject
from proxy.errors import ErrorCode

NOTHING: Mapping[str, JsonObject] = MappingProxyType({})

# What any request may meet: a head that is no HTTP, and a server that is full or leaving.
BARE = frozenset({ErrorCode.INVALID, ErrorCode.UNAVAILABLE})
# ... and any that brings a body.
BODY = BARE | {ErrorCode.REQUEST_TIMEOUT, ErrorCode.TOO_LARGE, ErrorCode.MEDIA_TYPE}
# ... and any that needs a model.
MODEL = frozenset(
    {
        ErrorCode.MODEL_NOT_FOUND,
        ErrorCode.OVERLOADED,
        ErrorCode.BAD_GATEWAY,
        ErrorCode.GATEWAY_TIMEOUT,
        ErrorCode.UNAVAILABLE,
        ErrorCode.DOWNLOAD_REQUIRED,
        ErrorCode.INSUFFICIENT_MEMORY,
        ErrorCode.UNSUPPORTED_DEVICE,
        ErrorCode.LOADING_TIMEOUT,
        ErrorCode.LICENSE,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A success. schema: of its JSON, None = no JSON; media: its type; streams: or server-sent events, if asked for."""

    description: str
    schema: JsonObject | None = None
    media: str = "application/json"
    streams: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A method of a path (OpenAPI's template: `{name}`), what it takes and what it may answer.

    query: parameters by name, none of them required; body: JSON schema; form: of a multipart form; optional: the body may be
    left out; success: status -> answer; errors: kinds of failure, beside those of authentication. A WebSocket answers 101.
    """

    method: str
    path: str
    summary: str
    success: Mapping[int, Answer]
    errors: frozenset[ErrorCode] = BARE
    query: Mapping[str, JsonObject] = field(default_factory=lambda: NOTHING)
    body: JsonObject | None = None
    form: JsonObject | None = None
    optional: bool = False


def text(description: str = "") -> JsonObject:
    """The schema of a string."""
    return {"type": "string", **_described(description)}


def whole(minimum: int, maximum: int, description: str = "") -> JsonObject:
    """The schema of a whole number between these."""
    return {"type": "integer", "minimum": minimum, "maximum": maximum, **_described(description)}


def one_of(*values: str) -> JsonObject:
    """The schema of one of these words."""
    return {"type": "string", "enum": [*values]}


def many(items: JsonObject) -> JsonObject:
    """The schema of a list."""
    return {"type": "array", "items": items}


def record(
    needed: Mapping[str, JsonObject], others: Mapping[str, JsonObject] = NOTHING, *, closed: bool = True
) -> JsonObject:
    """The schema of an object. closed: it has no fields but these."""
    schema: JsonObject = {"type": "object", "properties": {**needed, **others}, "additionalProperties": not closed}
    return {**schema, "required": [*needed]} if needed else schema


NUMBER: JsonObject = {"type": "number"}
FLAG: JsonObject = {"type": "boolean"}
OBJECT: JsonObject = {"type": "object"}
FILE: JsonObject = {"type": "string", "format": "binary"}


def _described(description: str) -> JsonObject:
    return {"description": description} if description else {}
