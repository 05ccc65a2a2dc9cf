"""How the source of a model is written: a hub id, or a directory. Read without the hub's library, which is large."""

from __future__ import annotations

import re

MAX_ID_BYTES = 200
SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def is_model_id(text: str) -> bool:
    """Whether text has the form of a hub id, `name` or `owner/name`, that is safe to show, look up and log."""
    segments = text.split("/")
    return (
        len(text.encode(errors="replace")) <= MAX_ID_BYTES
        and len(segments) <= 2
        and ".." not in text
        and all(SEGMENT.fullmatch(segment) for segment in segments)
    )


def is_directory(source: str) -> bool:
    """Whether source is written as a directory: absolute, or beginning with `.` or `~`. An id never names one."""
    return source.startswith(("/", "./", "../", "~/")) or source in {".", ".."}
