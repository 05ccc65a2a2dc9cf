"""Errors as OpenAI's API says them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import orjson

from backends.errors import BackendError, Rejected
from proxy.errors import ApiError, ErrorCode, from_backend
from proxy.http.sse import data_event

TYPES = {
    ErrorCode.UNAUTHORIZED: "authentication_error",
    ErrorCode.FORBIDDEN: "permission_error",
    ErrorCode.OVERLOADED: "rate_limit_error",
    ErrorCode.INTERNAL: "server_error",
    ErrorCode.BAD_GATEWAY: "server_error",
    ErrorCode.UNAVAILABLE: "server_error",
    ErrorCode.GATEWAY_TIMEOUT: "server_error",
    ErrorCode.DOWNLOAD_REQUIRED: "server_error",
    ErrorCode.INSUFFICIENT_MEMORY: "server_error",
    ErrorCode.LOADING_TIMEOUT: "server_error",
    ErrorCode.LICENSE: "permission_error",
}
CODES = {
    ErrorCode.UNAUTHORIZED: "invalid_api_key",
    ErrorCode.FORBIDDEN: "forbidden",
    ErrorCode.MODEL_NOT_FOUND: "model_not_found",
    ErrorCode.UNSUPPORTED: "unsupported_parameter",
    ErrorCode.NOT_FOUND: "not_found",
    ErrorCode.METHOD_NOT_ALLOWED: "method_not_allowed",
    ErrorCode.TOO_LARGE: "request_too_large",
    ErrorCode.MEDIA_TYPE: "unsupported_media_type",
    ErrorCode.REQUEST_TIMEOUT: "request_timeout",
    ErrorCode.OVERLOADED: "rate_limit_exceeded",
    ErrorCode.INTERNAL: "internal_error",
    ErrorCode.BAD_GATEWAY: "bad_gateway",
    ErrorCode.UNAVAILABLE: "service_unavailable",
    ErrorCode.GATEWAY_TIMEOUT: "gateway_timeout",
    ErrorCode.DOWNLOAD_REQUIRED: "download_required",
    ErrorCode.INSUFFICIENT_MEMORY: "insufficient_memory",
    ErrorCode.UNSUPPORTED_DEVICE: "unsupported_device",
    ErrorCode.LOADING_TIMEOUT: "loading_timeout",
    ErrorCode.LICENSE: "license_error",
}


def error_object(error: ApiError) -> dict[str, object]:
    """The error's JSON."""
    return {
        "error": {
            "message": error.message,
            "type": TYPES.get(error.code, "invalid_request_error"),
            "param": error.param,
            "code": CODES.get(error.code),
        }
    }


def render_error(error: ApiError) -> bytes:
    """The body: an engine's own, untouched, where it already speaks this dialect."""
    if error.upstream is not None and _speaks_openai(error.upstream):
        return error.upstream.body
    return orjson.dumps(error_object(error))


def error_frame(error: ApiError) -> bytes:
    """A failure in the middle of a stream, as an event that SDKs raise; an engine's own words, in one line."""
    return data_event(orjson.loads(render_error(error)))


def backend_error_frame(error: BackendError) -> bytes:
    """The same, for a relay."""
    return error_frame(from_backend(error))


def _speaks_openai(answer: Rejected) -> bool:
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return False
    error = body.get("error") if isinstance(body, dict) else None
    return isinstance(error, dict) and isinstance(error.get("message"), str)
