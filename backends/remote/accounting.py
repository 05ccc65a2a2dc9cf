"""What an answer's last bytes say about it: tokens, finish reason, failure. Pure functions, applied once, after the end."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from backends.remote.sse import SseParser
from backends.types import Json, JsonObject, Usage

KEPT_READS = 16  # of a stream: the finish, usage and terminal events of every choice come last
MAX_JSON = 1024 * 1024

MAX_TAIL = 64 * 1024

_MAX_EVENTS = 64
_LEADING = 4096  # an error says so at once: `error` is the object's only member, or among its first


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found. failed: the engine itself reported an error in the stream."""

    usage: Usage | None = None
    finish_reason: str | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class StreamError:
    """status: the one that fits the error; body: the error object as the engine wrote it."""

    status: int
    body: bytes


def of_json(body: bytes) -> Seen:
    """Read a unary answer; nothing is found in what is not an OpenAI-shaped JSON object."""
    try:
        answer: Json = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Seen()
    return Seen(_usage(answer), _finish_reason(answer)) if isinstance(answer, dict) else Seen()


def of_stream(tail: bytes) -> Seen:
    """Read the last events of an SSE stream, latest first, up to the one that finishes; chunk framing may be left in."""
    usage: Usage | None = None
    finish_reason: str | None = None
    end = len(tail)
    for _ in range(_MAX_EVENTS):
        start = tail.rfind(b"data:", 0, end)
        if start < 0 or finish_reason is not None:
            break
        at_line_start = start == 0 or tail[start - 1] in b"\r\n"
        event = _object(tail[start + 5 : end]) if at_line_start else {}
        end = start
        if event.get("error"):
            return Seen(usage, finish_reason, failed=True)
        usage = usage or _usage(event)
        finish_reason = _finish_reason(event)
    return Seen(usage, finish_reason)


def leading_error(payload: bytes) -> StreamError | None:
    """The error that a stream begins with instead of an answer: vLLM and TGI say so under a status of 200."""
    if payload.find(b'"error"', 0, _LEADING) < 0:
        return None
    first = next((event.data for event in SseParser().feed(payload + b"\n\n")), b"")
    error = _object(first).get("error")
    if not error:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    return StreamError(code if isinstance(code, int) and 400 <= code <= 599 else 502, first)


def _object(text: bytes) -> JsonObject:
    """The JSON object that `text` begins with on its first line; empty for [DONE] and whatever else is not ours to judge."""
    line = text.partition(b"\n")[0].strip()
    if not line.startswith(b"{"):
        return {}
    try:
        parsed: JsonObject = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return parsed


def _usage(answer: JsonObject) -> Usage | None:
    """Usage in the words of chat and completions, or of the Responses API, whose events carry the response inside."""
    inner = answer.get("response")
    usage = (inner if isinstance(inner, dict) else answer).get("usage")
    if not isinstance(usage, dict):
        return None
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    completion = usage.get("completion_tokens", usage.get("output_tokens", 0))
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    details = usage.get("prompt_tokens_details", usage.get("input_tokens_details"))
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(prompt, completion, cached if isinstance(cached, int) else None)


def _finish_reason(answer: JsonObject) -> str | None:
    """The finish reason of the last choice that has one; a response's final status in the Responses API."""
    choices = answer.get("choices")
    for choice in reversed(choices) if isinstance(choices, list) else ():
        reason = choice.get("finish_reason") if isinstance(choice, dict) else None
        if isinstance(reason, str):
            return reason
    inner = answer.get("response", answer)
    if isinstance(inner, dict) and inner.get("object") == "response":
        status = inner.get("status")
        if isinstance(status, str) and status not in {"queued", "in_progress"}:
            return status
    return None
