"""Errors as this contract says them, and the sentences that it prints."""

from __future__ import annotations

import orjson

from proxy.errors import ApiError, ErrorCode

SHOWN = 200  # characters of what a caller sent


def error_object(error: ApiError) -> dict[str, object]:
    """The error's JSON."""
    return {"success": False, "error": error.message}


def render_error(error: ApiError) -> bytes:
    """The error as a body."""
    return orjson.dumps(error_object(error))


def not_found(model_id: str) -> ApiError:
    """There is no such model: 404."""
    return ApiError(ErrorCode.MODEL_NOT_FOUND, f"Model '{model_id[:SHOWN]}' not found", param="model_id")


def missing(field: str) -> ApiError:
    """A field that must be there is not: 400."""
    return ApiError(ErrorCode.INVALID, f"Missing required field: {field}", param=field)


def no_libraries() -> ApiError:
    """Models of this process need packages that are not installed: 400."""
    message = "Transformers library not available. Please install: pip install transformers torch"
    return ApiError(ErrorCode.INVALID, message)
