"""How this contract says that something went wrong: `{"statusCode": ..., "statusMessage": ...}`."""

from __future__ import annotations

import orjson

from backends.errors import BackendError
from proxy.errors import ApiError, ErrorCode, from_backend

INVALID_MODEL = "Invalid model name or publisher"
RETIRED = "Service not available anymore."
FAILED = "Internal Server Error"

# What the caller can mend or wait for; whatever else an engine does before the first byte is the contract's 500.
_CALLERS_OWN = frozenset({ErrorCode.INVALID, ErrorCode.UNSUPPORTED, ErrorCode.TOO_LARGE, ErrorCode.OVERLOADED})


def shape(error: ApiError) -> dict[str, object]:
    """The error as this contract's object. A 500 says no more than the contract does: the log has the rest."""
    return {"statusCode": error.status, "statusMessage": FAILED if error.status == 500 else error.message}


def render_error(error: ApiError) -> bytes:
    """The error as a body."""
    return orjson.dumps(shape(error))


def callers_own(error: BackendError) -> bool:
    """Whether nothing was asked after all: the caller can mend it, or come back."""
    return from_backend(error).code in _CALLERS_OWN


def failed(error: BackendError) -> ApiError:
    """An engine's failure before the stream."""
    told = from_backend(error)
    if told.code in _CALLERS_OWN:
        return told
    return ApiError(ErrorCode.INTERNAL, told.message, retry_after=told.retry_after)
