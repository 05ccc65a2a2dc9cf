"""One error vocabulary inside; every contract renders it in its own shape."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from backends import errors as backend_errors
from backends.errors import BackendError, Rejected
from backends.types import Json


class ErrorCode(StrEnum):
    """What kind of thing went wrong; STATUS says which HTTP status that is."""

    INVALID = "invalid"
    UNSUPPORTED = "unsupported"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    MODEL_NOT_FOUND = "model_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    TOO_LARGE = "too_large"
    MEDIA_TYPE = "media_type"
    OVERLOADED = "overloaded"
    INTERNAL = "internal"
    BAD_GATEWAY = "bad_gateway"
    UNAVAILABLE = "unavailable"
    GATEWAY_TIMEOUT = "gateway_timeout"
    DOWNLOAD_REQUIRED = "download_required"
    INSUFFICIENT_MEMORY = "insufficient_memory"
    UNSUPPORTED_DEVICE = "unsupported_device"
    LOADING_TIMEOUT = "loading_timeout"
    LICENSE = "license"


STATUS = {
    ErrorCode.INVALID: 400,
    ErrorCode.UNSUPPORTED: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.MODEL_NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.REQUEST_TIMEOUT: 408,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.MEDIA_TYPE: 415,
    ErrorCode.OVERLOADED: 429,
    ErrorCode.INTERNAL: 500,
    ErrorCode.BAD_GATEWAY: 502,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.GATEWAY_TIMEOUT: 504,
    ErrorCode.DOWNLOAD_REQUIRED: 503,
    ErrorCode.INSUFFICIENT_MEMORY: 503,
    ErrorCode.UNSUPPORTED_DEVICE: 503,
    ErrorCode.LOADING_TIMEOUT: 504,
    ErrorCode.LICENSE: 403,
}


# Why a model does not load, where waiting alone would not help.
LOAD_FAILURES: Mapping[type[BackendError], ErrorCode] = {
    backend_errors.NotFound: ErrorCode.MODEL_NOT_FOUND,
    backend_errors.NotCached: ErrorCode.DOWNLOAD_REQUIRED,
    backend_errors.Licensed: ErrorCode.LICENSE,
    backend_errors.NoDevice: ErrorCode.UNSUPPORTED_DEVICE,
    backend_errors.LoadTimedOut: ErrorCode.LOADING_TIMEOUT,
}


class ApiError(Exception):
    """A request that ends in an error.

    message: for the caller, with the way out; param: the offending field; retry_after: seconds; details: figures and names
    behind the message, for contracts that tell them;
    status: overrides the code's own (an engine's answer keeps its status); upstream: the engine's answer, if it was one.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        status: int | None = None,
        upstream: Rejected | None = None,
        headers: dict[str, str] | None = None,
        details: Mapping[str, Json] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.status = status or STATUS[code]
        self.upstream = upstream
        self.headers = headers or {}
        self.details = details or {}


def invalid(param: str, reason: str) -> ApiError:
    """The error for a field with a wrong value. reason: the rest of the sentence, without a full stop."""
    return ApiError(ErrorCode.INVALID, f"Invalid `{param}`: {reason}.", param=param)


def from_backend(error: BackendError) -> ApiError:
    """The same failure in the door's words; an engine's own 4xx and 5xx keep their status."""
    match error:
        case Rejected():
            return _rejected(error)
        case backend_errors.MediaRefused(too_large=True):
            return ApiError(ErrorCode.TOO_LARGE, error.message, param=error.param)
        case backend_errors.MediaRefused():
            return ApiError(ErrorCode.MEDIA_TYPE, error.message, param=error.param)
        case backend_errors.Unsupported():
            return ApiError(ErrorCode.UNSUPPORTED, error.message, param=error.param)
        case backend_errors.Invalid():
            return ApiError(ErrorCode.INVALID, error.message, param=error.param)
        case backend_errors.Overloaded():
            return ApiError(ErrorCode.OVERLOADED, error.message, retry_after=error.retry_after or 1)
        case backend_errors.TimedOut():
            return ApiError(ErrorCode.GATEWAY_TIMEOUT, error.message, retry_after=error.retry_after)
        case backend_errors.OutOfMemory():
            return _out_of_memory(error)
        case backend_errors.Unavailable() if (code := LOAD_FAILURES.get(type(error))) is not None:
            return ApiError(code, error.message, retry_after=error.retry_after)
        case backend_errors.Unavailable():
            return ApiError(ErrorCode.UNAVAILABLE, error.message, retry_after=error.retry_after or 1)
        case _:
            return ApiError(ErrorCode.BAD_GATEWAY, error.message, retry_after=error.retry_after)


def _out_of_memory(error: backend_errors.OutOfMemory) -> ApiError:
    """With the figures and the ways out, as far as they are known."""
    known: dict[str, Json] = {
        "required_memory_mb": error.required_mb,
        "available_memory_mb": error.available_mb,
        "suggestions": [*error.suggestions],
        "suggested_alternatives": [*error.alternatives],
    }
    details = {name: value for name, value in known.items() if value not in (None, [])}
    return ApiError(ErrorCode.INSUFFICIENT_MEMORY, error.message, retry_after=error.retry_after, details=details)


def _rejected(error: Rejected) -> ApiError:
    if error.status in (401, 403):
        # The engine refused *our* key: telling the client 401 would send it looking at its own.
        message = f"The engine answered {error.status}: it does not accept the proxy's key. Set the engine's `key`."
        return ApiError(ErrorCode.BAD_GATEWAY, message)
    codes = {404: ErrorCode.NOT_FOUND, 413: ErrorCode.TOO_LARGE, 415: ErrorCode.MEDIA_TYPE, 429: ErrorCode.OVERLOADED}
    retry_after = error.retry_after
    if error.status >= 500:
        code = {503: ErrorCode.UNAVAILABLE, 504: ErrorCode.GATEWAY_TIMEOUT}.get(error.status, ErrorCode.BAD_GATEWAY)
    else:
        code = codes.get(error.status, ErrorCode.INVALID)
    if retry_after is None and code in (ErrorCode.UNAVAILABLE, ErrorCode.OVERLOADED):
        retry_after = 1
    return ApiError(code, error.message, retry_after=retry_after, status=error.status, upstream=error)
