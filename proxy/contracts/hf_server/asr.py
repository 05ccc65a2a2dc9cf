"""Speech to text: `POST /asr`, a file in a form and every option in the query, answered in transformers' shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

import orjson
from aiohttp import web

from backends.types import Segment, Transcribe
from proxy.errors import ApiError, ErrorCode, invalid
from proxy.http.multipart import Part, read_form
from proxy.http.observe import CALL
from proxy.http.sessions import FIELD, SESSIONS, preferences
from proxy.keys import DISPATCHER, SETTINGS
from proxy.speech_options import OPTIONS, candidates, read_flag, read_number, transcription
from proxy.tasks.telling import told_absent
from proxy.tasks.transcription import Chunks, result

DEFAULT_MODEL = "openai/whisper-small"
"""Of this path, by its contract; the models API has another. It serves where nobody chose a default for all paths."""
LISTS = frozenset({"hotwords", "languages", "temperature"})
KNOWN = OPTIONS | LISTS | {"model", "return_timestamps", "task"}


async def asr(request: web.Request) -> web.Response:
    """`POST /asr`: `{"result": {"text", "chunks"}}`; chunks where times or speakers were asked for."""
    wishes = await preferences(request)
    asked = read_query([item for item in request.query.items() if item[0] != FIELD], wishes.transcribe)
    audio = _file(await read_form(request, int(request.app[SETTINGS].max_audio_mb * 1e6)))
    call = request[CALL]
    dispatcher = request.app[DISPATCHER]
    registry = dispatcher.router.registry
    name = asked.model or wishes.model("transcription")
    if name is None and wishes.session is None and "transcription" in registry.assumed:
        name = DEFAULT_MODEL
    entry = dispatcher.resolve_any(name, "transcription", call)
    if not registry.in_process(entry):
        message = f"The model `{entry.name}` is served by another engine; ask it through /v1/audio/transcriptions."
        raise ApiError(ErrorCode.UNSUPPORTED, message, param="model")
    entry = await request.app[SESSIONS].placed(entry, wishes)
    with told_absent():
        async with aclosing(dispatcher.run(entry, replace(asked.request, audio=audio), call)) as events:
            segments = [event async for event in events if isinstance(event, Segment)]
    call.first_byte()
    body = {"result": result(segments, asked.chunks)}
    return web.Response(body=orjson.dumps(body), content_type="application/json")


@dataclass(frozen=True, slots=True)
class Question:
    """What a query asks for. request: its audio is still to come; model: None = the default one."""

    request: Transcribe
    model: str | None
    chunks: Chunks


def read_query(query: Iterable[tuple[str, str]], base: Transcribe) -> Question:
    """The query's parameters, checked; empty ones count as not sent. base: what holds then. Raises INVALID with the name."""
    single: dict[str, str] = {}
    listed: dict[str, list[str]] = {}
    for name, value in query:
        if name not in KNOWN:
            message = f"`{name[:100]}` is not supported; leave it out. Known: {', '.join(sorted(KNOWN))}."
            raise ApiError(ErrorCode.INVALID, message, param=name[:100])
        if not value:
            continue
        if name in LISTS:
            listed.setdefault(name, []).append(value)
        elif name in single:
            raise ApiError(ErrorCode.INVALID, f"`{name}` was sent more than once.", param=name)
        else:
            single[name] = value
    asked = transcription(single, base)
    chunks = _chunks(single)
    if chunks == "none" and asked.diarize is not None:
        chunks = "segments"
    if asked.align and chunks == "none":
        raise invalid("align", "it is about times: send `return_timestamps`, too")
    temperatures = tuple(read_number("temperature", text, 0, 1) for text in listed.get("temperature", ()))
    request = replace(
        candidates(listed.get("languages", ()), asked, language="language" in single),
        task=_task(single.get("task", base.task)),
        hotwords=tuple(listed.get("hotwords", ())),
        temperatures=temperatures or base.temperatures,
        words=chunks == "words",
    )
    return Question(request, single.get("model"), chunks)


def _chunks(sent: Mapping[str, str]) -> Chunks:
    wanted = sent.get("return_timestamps", "false")
    if wanted.lower() == "word":
        return "words"
    try:
        return "segments" if read_flag("return_timestamps", wanted) else "none"
    except ApiError as error:
        raise invalid("return_timestamps", f"`{wanted[:100]}` is none of `true`, `word`, `false`") from error


def _task(said: str) -> Literal["transcribe", "translate"]:
    match said:
        case "transcribe" | "translate":
            return said
    raise invalid("task", f"`{said[:100]}` is neither `transcribe` nor `translate`")


def _file(parts: Iterable[Part]) -> bytes:
    files = []
    for part in parts:
        if part.name != "file":
            message = f"The form takes `file` alone; send `{part.name[:100]}` in the query."
            raise ApiError(ErrorCode.INVALID, message, param=part.name[:100])
        files.append(part.data)
    if len(files) != 1:
        raise ApiError(ErrorCode.INVALID, f"The form must have one `file`; it has {len(files)}.", param="file")
    if not files[0]:
        raise ApiError(ErrorCode.INVALID, "`file` is empty: send the audio file's bytes.", param="file")
    return files[0]
