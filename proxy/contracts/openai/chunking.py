"""`chunking_strategy`: how speech is found before it is decoded."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from backends.types import Vad
from proxy.errors import ApiError, ErrorCode, invalid
from proxy.speech_options import read_number, read_whole

NAMES = ("type", "threshold", "prefix_padding_ms", "silence_duration_ms")
# OpenAI's SDKs send an object in a form as a field for each of its own.
BRACKETS = frozenset(f"chunking_strategy[{name}]" for name in NAMES)
MAX_MS = 60_000


def read_chunking(said: str | None, bracketed: Mapping[str, str]) -> Vad | None:
    """What `auto`, an object as JSON, or that object's fields in brackets ask for; None: nothing. Raises INVALID."""
    if said and bracketed:
        raise invalid("chunking_strategy", "it was sent both as one field and as several")
    if bracketed:
        return _server_vad(bracketed)
    if not said or said == "null":
        return None
    if said.lstrip().startswith("{"):
        return _server_vad(_from_json(said))
    if said != "auto":
        raise invalid("chunking_strategy", f"`{said[:100]}` is neither `auto` nor an object of type `server_vad`")
    return Vad()


def _from_json(said: str) -> dict[str, str]:
    try:
        sent = orjson.loads(said)
    except orjson.JSONDecodeError as error:
        raise invalid("chunking_strategy", "it is not valid JSON") from error
    for name in sent:
        if name not in NAMES:
            message = f"Unknown parameter: `chunking_strategy.{name[:100]}`."
            raise ApiError(ErrorCode.INVALID, message, param="chunking_strategy")
    return {f"chunking_strategy[{name}]": str(value) for name, value in sent.items() if value is not None}


def _server_vad(fields: Mapping[str, str]) -> Vad:
    kind, threshold, padding, silence = (f"chunking_strategy[{name}]" for name in NAMES)
    if fields.get(kind) != "server_vad":
        raise invalid(kind, f"`{fields.get(kind, '')[:100]}` is not `server_vad`")
    return Vad(
        threshold=read_number(threshold, fields[threshold], 0, 1) if threshold in fields else None,
        prefix_padding_ms=read_whole(padding, fields[padding], 0, MAX_MS) if padding in fields else None,
        silence_duration_ms=read_whole(silence, fields[silence], 0, MAX_MS) if silence in fields else None,
    )
