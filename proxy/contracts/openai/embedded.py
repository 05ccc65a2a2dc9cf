"""Audio inside text: base64, or a data URL (RFC 2397). Nothing is ever fetched or opened for it."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from proxy.errors import ApiError, ErrorCode

_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^;,]+)*;base64,", re.IGNORECASE)
_MAGIC = {b"RIFF": "wav", b"RF64": "wav", b"fLaC": "flac", b"OggS": "ogg", b"\x1aE\xdf\xa3": "webm"}


@dataclass(frozen=True, slots=True)
class Embedded:
    """An audio file that came inside a text. media_type: "" where it was plain base64."""

    data: bytes
    media_type: str = ""

    @property
    def format(self) -> str:
        """What OpenAI's `input_audio` calls this file's format, by its first bytes."""
        if self.data[4:8] == b"ftyp":
            return "m4a"
        return _MAGIC.get(self.data[:4], "mp3")


def read_embedded(text: str, param: str, *, data_url: bool = False) -> Embedded:
    """Decode base64 or a data URL (data_url: only the latter). Raises INVALID: for paths and other URLs too."""
    wanted = "as a data URL (`data:audio/wav;base64,...`)" if data_url else "as base64 or as a base64 data URL"
    head = _DATA_URL.match(text)
    if head is None and data_url:
        raise _refused(param, wanted)
    try:
        # Tools wrap base64 in lines; anything else that is not of its alphabet is no base64.
        data = base64.b64decode("".join(text[head.end() if head else 0 :].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused(param, wanted) from error
    if not data:
        raise ApiError(ErrorCode.INVALID, f"Invalid `{param}`: it holds no audio.", param=param)
    return Embedded(data, head[1].lower() if head else "")


def _refused(param: str, wanted: str) -> ApiError:
    message = f"Invalid `{param}`: send the audio file's own bytes {wanted}; paths and links are not followed."
    return ApiError(ErrorCode.INVALID, message, param=param)
