"""Errors as the models API says them: `{"error": {"code", "message", "details"}}`."""

from __future__ import annotations

import orjson

from proxy.errors import ApiError, ErrorCode

# The contract names eight codes; what else HTTP can answer has a name in the same style.
CODES = {
    ErrorCode.MODEL_NOT_FOUND: "MODEL_NOT_FOUND",
    ErrorCode.DOWNLOAD_REQUIRED: "DOWNLOAD_REQUIRED",
    ErrorCode.INSUFFICIENT_MEMORY: "INSUFFICIENT_MEMORY",
    ErrorCode.UNSUPPORTED_DEVICE: "UNSUPPORTED_DEVICE",
    ErrorCode.LOADING_TIMEOUT: "LOADING_TIMEOUT",
    ErrorCode.BAD_GATEWAY: "INFERENCE_ERROR",
    ErrorCode.GATEWAY_TIMEOUT: "INFERENCE_ERROR",
    ErrorCode.INVALID: "CONFIGURATION_ERROR",
    ErrorCode.UNSUPPORTED: "CONFIGURATION_ERROR",
    ErrorCode.LICENSE: "LICENSE_ERROR",
    ErrorCode.UNAUTHORIZED: "UNAUTHORIZED",
    ErrorCode.FORBIDDEN: "FORBIDDEN",
    ErrorCode.NOT_FOUND: "NOT_FOUND",
    ErrorCode.METHOD_NOT_ALLOWED: "METHOD_NOT_ALLOWED",
    ErrorCode.REQUEST_TIMEOUT: "REQUEST_TIMEOUT",
    ErrorCode.TOO_LARGE: "REQUEST_TOO_LARGE",
    ErrorCode.MEDIA_TYPE: "UNSUPPORTED_MEDIA_TYPE",
    ErrorCode.OVERLOADED: "OVERLOADED",
    ErrorCode.INTERNAL: "INTERNAL_ERROR",
    ErrorCode.UNAVAILABLE: "SERVICE_UNAVAILABLE",
}


def error_object(error: ApiError) -> dict[str, object]:
    """What stands under `error`, also in events. details: what the error knows, and the path of the offending `field`."""
    field = {} if error.param is None else {"field": error.param}
    return {"code": CODES[error.code], "message": error.message, "details": {**error.details, **field}}


def render_error(error: ApiError) -> bytes:
    """The body."""
    return orjson.dumps({"error": error_object(error)})
