"""Errors as TGI says them: `{"error": sentence, "error_type": kind}` (router/src/infer/mod.rs, 3.3.6)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
from aiohttp import web

from backends.errors import BackendError
from proxy.errors import ApiError, ErrorCode, from_backend
from proxy.http.sse import data_event

# The kinds that TGI's clients know, and the status and the first words that each has there.
KINDS = {
    "validation": (422, "Input validation error: "),
    "overloaded": (429, "Model is overloaded: "),
    "generation": (424, "Request failed during generation: "),
}
KIND = {
    ErrorCode.INVALID: "validation",
    ErrorCode.UNSUPPORTED: "validation",
    ErrorCode.TOO_LARGE: "validation",
    ErrorCode.MEDIA_TYPE: "validation",
    ErrorCode.REQUEST_TIMEOUT: "validation",
    ErrorCode.OVERLOADED: "overloaded",
    ErrorCode.BAD_GATEWAY: "generation",
    ErrorCode.INTERNAL: "incomplete_generation",
    ErrorCode.UNAVAILABLE: "healthcheck",
    ErrorCode.GATEWAY_TIMEOUT: "timeout",
}
# What our options are called here.
NAMES = {
    "max_tokens": "max_new_tokens",
    "prompt": "inputs",
    "top_logprobs": "top_n_tokens",
    "n": "best_of",
    "response_format": "grammar",
}


def error_object(error: ApiError) -> dict[str, object]:
    """The error's JSON."""
    return {"error": error.message, "error_type": KIND.get(error.code, error.code.value)}


def render_error(error: ApiError) -> bytes:
    """The body."""
    return orjson.dumps(error_object(error))


def error_frame(error: ApiError) -> bytes:
    """A failure in a stream, as the event that TGI's clients raise."""
    return data_event(error_object(error))


@contextmanager
def in_tgi_words() -> Iterator[None]:
    """Raise what goes wrong in the block with TGI's status, first words and names of options."""
    try:
        yield
    except (ApiError, BackendError) as error:
        raise as_tgi(error) from error


def as_tgi(error: ApiError | BackendError) -> ApiError:
    """The same failure, as TGI says it. What TGI has no kind for keeps its status."""
    told = error if isinstance(error, ApiError) else from_backend(error)
    if told.code == ErrorCode.TOO_LARGE:
        return told
    status, start = KINDS.get(KIND.get(told.code, ""), (told.status, ""))
    param = NAMES.get(told.param or "", told.param)
    words = told.message.replace("max_tokens", NAMES["max_tokens"])
    for ours, theirs in NAMES.items():
        words = words.replace(f"`{ours}`", f"`{theirs}`")
    message = words if words.startswith(start) else start + words
    return ApiError(told.code, message, param=param, status=status, retry_after=told.retry_after, headers=told.headers)


def error_response(error: ApiError) -> web.Response:
    """The answer, on a path that is also another contract's."""
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return web.Response(body=render_error(error), status=error.status, content_type="application/json", headers=headers)
