"""What `POST /infer` takes, as JSON or as a form."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from pydantic import BaseModel, ConfigDict, JsonValue

from proxy.errors import ApiError, ErrorCode, invalid
from proxy.http.multipart import Part
from proxy.tasks.parsing import parse

JSON_FIELDS = frozenset({"inputs", "params"})


class InferBody(BaseModel):
    """`POST /infer`. model: None or empty = the session's, or the task's default; session_id: whose configuration holds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    task: str
    model: str | None = None
    inputs: JsonValue
    params: dict[str, JsonValue] | None = None
    session_id: str | None = None


def from_form(parts: Iterable[Part]) -> tuple[InferBody, dict[str, tuple[bytes, ...]]]:
    """The body that a form's fields make, and its files by name: every field that the body does not have is a file.

    `inputs` and `params` are JSON; inputs that are none are a text. Raises INVALID.
    """
    sent: dict[str, JsonValue] = {}
    files: dict[str, tuple[bytes, ...]] = {}
    for part in parts:
        name = part.name
        if name not in InferBody.model_fields:
            files[name] = (*files.get(name, ()), part.data)
        elif name in sent:
            raise ApiError(ErrorCode.INVALID, f"`{name}` was sent more than once.", param=name)
        else:
            sent[name] = _value(name, part.data)
    if not files:
        return parse(InferBody, sent), files
    return parse(InferBody, {"inputs": None, **sent}), files


def _value(name: str, data: bytes) -> JsonValue:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise invalid(name, "it is no text in UTF-8; send files under another name, such as `file`") from error
    if name not in JSON_FIELDS:
        return text
    try:
        value: JsonValue = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if name == "inputs":
            return text
        raise invalid(name, "it is no JSON") from error
    return value
