"""Objects out of requests, checked against their models, and refused with the field's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from proxy.errors import ApiError, ErrorCode

T = TypeVar("T", bound=BaseModel)


def parse(kind: type[T], data: Mapping[str, object], *, within: str = "") -> T:
    """Check an object. within: what stands before its fields' names in messages. Raises INVALID naming the field."""
    stranger = next((field for field in data if field not in kind.model_fields), None)
    if stranger is not None:
        name = f"{within}{stranger}"[:200]
        message = f"`{name}` is not supported; leave it out. Known: {', '.join(kind.model_fields)}."
        raise ApiError(ErrorCode.INVALID, message, param=name)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = f"{within}{first['loc'][0]}"[:200]
        match first["type"]:
            case "missing":
                message = f"`{name}` is missing."
            case _:
                message = f"Invalid `{name}`: {first['msg']}."
        raise ApiError(ErrorCode.INVALID, message, param=name) from error
