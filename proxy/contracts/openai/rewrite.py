"""Rename the model in a request body without touching any other byte of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache

from proxy.errors import ApiError, ErrorCode

_ONLY = re.compile(rb'"model"[ \t\n\r]*:[ \t\n\r]*("[^"\\]*")')
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def rename_model(body: bytes, name: str) -> bytes:
    """The JSON object `body` with the value of its top-level `model` replaced by `name`.

    body must be valid JSON (it was parsed before). A `model` inside messages or strings stays as it is.
    Where the key stands twice, both are replaced: which of them counts differs between parsers.
    Raises INVALID for values nested so deeply that the key cannot be found.

    >>> rename_model(b'{"x": {"model": 1}, "model" : "a"}', "b")
    b'{"x": {"model": 1}, "model" : "b"}'
    """
    replacement = _quoted(name)
    if body.count(b'"model"') == 1 and b"\\u00" not in body and (only := _ONLY.search(body)):
        # Said once and not spelled with escapes: this is the key itself, since the body has one.
        return body[: only.start(1)] + replacement.encode() + body[only.end(1) :]
    text = body.decode("utf-8")
    try:
        values = list(_model_values(text))
    except RecursionError as error:
        raise ApiError(ErrorCode.INVALID, "The body is nested too deeply.") from error
    pieces, last = [], 0
    for start, end in values:
        pieces += [text[last:start], replacement]
        last = end
    return "".join((*pieces, text[last:])).encode("utf-8")


@lru_cache(maxsize=256)
def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _model_values(text: str) -> Iterator[tuple[int, int]]:
    """Where the values of the top-level `model` keys begin and end."""
    at = _skip(text, _skip(text, 0) + 1)
    while text[at] == '"':
        key, at = _DECODER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, end = _DECODER.raw_decode(text, start)
        if key == "model":
            yield start, end
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
