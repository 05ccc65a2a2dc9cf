"""TGI's ways of saying no, as the errors they stand for (text-generation-inference 3.3.6, router/src/infer/mod.rs)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from backends.errors import BackendError, Broken, Invalid, Overloaded, Rejected, TimedOut, Unavailable
from backends.types import JsonObject

_RETRY_AFTER: Final = 1.0  # TGI names none; its queue moves within a second or so

# An error event on the OpenAI routes says 422 whatever happened: only how its message begins tells.
_BEGINNINGS: Final[Mapping[str, str]] = {
    "Model is overloaded": "overloaded",
    "Input validation error": "validation",
    "Request failed during generation": "generation",
    "Incomplete generation": "incomplete_generation",
    "Template error": "template_error",
    "Missing template": "missing_template_variable",
    "Tool error": "tool_error",
}

# TGI's names for what callers know by OpenAI's; the others are the same in both.
_NAMES: Final[Mapping[str, str]] = {
    "max_new_tokens": "max_tokens",
    "top_n_tokens": "top_logprobs",
    "inputs": "prompt",
    "repetition_penalty": "repetition_penalty",
    "frequency_penalty": "frequency_penalty",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "stop": "stop",
    "best_of": "best_of",
}

_QUOTED: Final = re.compile(r"`(\w+)`")
_SHAPE: Final = "Failed to deserialize the JSON body into the target type: "
_PLACE: Final = re.compile(r"(?P<path>[A-Za-z_]\w*(?:\[\d+\]|\.\w+)*): (?P<why>.*)", re.DOTALL)


def event_error(event: JsonObject, *, inputs: str) -> BackendError:
    """What an error event inside a 200 stream means: `{"error", "error_type"}`, or `{"error": {"message"}}` on OpenAI routes.

    inputs: what the caller calls the text it sent, "messages" or "prompt".
    """
    error = event.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    kind = event.get("error_type")
    message = error if isinstance(error, str) else ""
    return typed_error(message, kind if isinstance(kind, str) else "", inputs=inputs)


def status_error(answer: Rejected, *, engine: str, inputs: str) -> BackendError:
    """What an error status means. `answer` itself when it is none of TGI's."""
    if answer.status == 401:
        return Unavailable(f"Engine {engine!r} refuses the proxy's key: set the engine's `key` to TGI's --api-key.")
    if answer.status == 404:
        return Unavailable(f"Engine {engine!r} is not a TGI server: check its `urls`.")
    if answer.status == 429:
        return Overloaded(
            "The engine is overloaded: try again shortly.", retry_after=answer.retry_after or _RETRY_AFTER
        )
    typed = _typed_body(answer.body)
    if typed is not None:
        return typed_error(*typed, inputs=inputs, retry_after=answer.retry_after)
    if answer.status == 422:
        return _shape_error(answer.body.decode("utf-8", "replace"))
    if answer.status in (400, 415):
        return Broken(f"Engine {engine!r} could not read the proxy's request (status {answer.status}).")
    if answer.status == 503:
        return Unavailable(f"Engine {engine!r} cannot serve now.", retry_after=answer.retry_after)
    if answer.status == 504:
        return TimedOut(f"Engine {engine!r} did not answer its own gateway in time.")
    return answer


def typed_error(message: str, kind: str, *, inputs: str, retry_after: float | None = None) -> BackendError:
    """The error of one `error_type`; an empty kind is found by how the message begins.

    Only complaints about the request keep TGI's words, with the caller's names for the fields: the rest says nothing to a caller.
    """
    kind = kind or next((kind for start, kind in _BEGINNINGS.items() if message.startswith(start)), "")
    if kind == "overloaded":
        return Overloaded("The engine is overloaded: try again shortly.", retry_after=retry_after or _RETRY_AFTER)
    if kind in ("validation", "suffix not supported", "batch size exceeded"):
        return _validation(message, inputs)
    if kind in ("template_error", "missing_template_variable"):
        return Invalid(f"The model's chat template refuses these messages: {_after_colon(message)}.", param="messages")
    if kind == "tool_error":
        return Invalid(f"The engine cannot use these tools: {_after_colon(message)}.", param="tools")
    if kind == "healthcheck":
        return Unavailable("The engine is unhealthy: try again shortly.", retry_after=retry_after)
    return Broken("The engine failed while generating.")


def _validation(message: str, inputs: str) -> Invalid:
    """Which field TGI complains about: the first that it quotes, under the caller's name for it."""
    names = {**_NAMES, "inputs": inputs}
    why = _after_colon(message) if message.startswith("Input validation error") else message
    fields = [names[name] for name in _QUOTED.findall(why) if name in names]
    param = fields[0] if fields else "response_format" if why.startswith(("grammar", "cannot compile")) else None
    words = _QUOTED.sub(lambda quoted: f"`{names.get(quoted[1], quoted[1])}`", why)
    return Invalid(f"The model's engine refuses the request: {words.rstrip('.')}.", param=param)


def _shape_error(text: str) -> BackendError:
    """axum's plain-text 422: a value that our checks let through but that is not of the type TGI wants."""
    if not text.startswith(_SHAPE):
        return Broken("The engine refused the request without a reason that could be read.")
    reason = text.removeprefix(_SHAPE).partition(" at line ")[0]
    place = _PLACE.fullmatch(reason)
    if place is None:
        return Invalid(f"The model's engine cannot read the request: {reason}.")
    path = re.sub(r"\[(\d+)\]", r".\1", place["path"])
    why = place["why"]
    if "untagged enum" in why:  # which only names a type of TGI's own
        why = "its fields are not of the types that belong there"
    return Invalid(f"The model's engine cannot read {path}: {why}.", param=path)


def _typed_body(body: bytes) -> tuple[str, str] | None:
    """(error, error_type) of a JSON error body; None when it is not one."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    match value:
        case {"error": str(message), "error_type": str(kind)}:
            return message, kind
        case _:
            return None


def _after_colon(message: str) -> str:
    return message.partition(": ")[2] or message
