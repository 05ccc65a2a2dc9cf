"""Server-sent events, written."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

DONE = b"data: [DONE]\n\n"


def data_event(value: Mapping[str, object]) -> bytes:
    """One event with JSON data; JSON has no raw newlines, so one `data:` line is enough.

    >>> data_event({"a": 1})
    b'data: {"a":1}\\n\\n'
    """
    return b"data: " + orjson.dumps(value) + b"\n\n"
