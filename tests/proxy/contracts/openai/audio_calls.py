"""Calls of OpenAI's audio endpoints without its client, and what a scripted backend answers."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import cast

import orjson
from aiohttp import ClientSession, FormData, MultipartWriter

from backends.types import Event, Request, Segment, Speech, Word

PATH = "/v1/audio/transcriptions"
SEGMENT = Segment(
    id=0, seek=0, start=0.0, end=1.5, text=" Hello Emma.", tokens=(1, 2), temperature=0.0, avg_logprob=-0.25,
    compression_ratio=1.5, no_speech_prob=0.125, words=(Word("Hello", 0.1, 0.4, 0.9), Word("Emma.", 0.5, 1.0, 0.8)),
)  # fmt: skip


def hello(_: Request) -> Iterable[Event | Exception]:
    """Two and a quarter seconds of German, one segment."""
    return (Speech("de", 2.25, 0.9), SEGMENT)


def form(*fields: tuple[str, str | bytes], file: bytes | None = b"RIFF") -> FormData:
    """A form with a file; values in bytes are sent as files, too."""
    data = FormData(default_to_multipart=True)
    for name, value in fields:
        data.add_field(name, BytesIO(value) if isinstance(value, bytes) else value)
    if file is not None:
        data.add_field("file", BytesIO(file), filename="../../a.wav")
    return data


async def post(url: str, data: FormData | MultipartWriter, path: str = PATH) -> tuple[int, dict[str, object]]:
    """Status and object of the answer."""
    async with ClientSession() as session, session.post(url + path, data=data) as answer:
        assert answer.content_type == "application/json"
        assert answer.headers["X-Request-Id"]
        return answer.status, orjson.loads(await answer.read())


async def refused(url: str, data: FormData | MultipartWriter, path: str = PATH) -> tuple[int, str | None, str, str]:
    """Status, param, code and message of the error."""
    status, body = await post(url, data, path)
    error = cast("dict[str, str]", body["error"])
    return status, error["param"], error["code"], error["message"]
