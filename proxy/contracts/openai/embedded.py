"""Audio inside text: base64, or a data URL (RFC 2397). Nothing is ever fetched or opened for it."""

from __future__ import annotations

import base64
import binascii
import re

from proxy.errors import invalid

_DATA_URL = re.compile(r"data:[^;,]*(?:;[^;,]+)*;base64,", re.IGNORECASE)
_MAGIC = {b"RIFF": "wav", b"RF64": "wav", b"fLaC": "flac", b"OggS": "ogg", b"\x1aE\xdf\xa3": "webm"}


def read_embedded(text: str, param: str, *, data_url: bool = False) -> bytes:
    """The file in base64 or in a data URL (data_url: only the latter). Raises INVALID: for paths and other URLs too."""
    wanted = "as a data URL (`data:audio/wav;base64,...`)" if data_url else "as base64 or as a base64 data URL"
    reason = f"send the audio file's own bytes {wanted}; paths and links are not followed"
    head = _DATA_URL.match(text)
    if head is None and data_url:
        raise invalid(param, reason)
    try:
        # Tools wrap base64 in lines; anything else that is not of its alphabet is no base64.
        data = base64.b64decode("".join(text[head.end() if head else 0 :].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(param, reason) from error
    if not data:
        raise invalid(param, "it holds no audio")
    return data


def format_of(data: bytes) -> str:
    """What OpenAI's `input_audio` calls a file's format, by its first bytes.

    >>> format_of(b"RIFF....WAVE"), format_of(b"ID3")
    ('wav', 'mp3')
    """
    if data[4:8] == b"ftyp":
        return "m4a"
    return _MAGIC.get(data[:4], "mp3")
