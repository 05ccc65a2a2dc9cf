"""Reading request bodies: of the right type, not compressed, and never more than allowed."""

from __future__ import annotations

from typing import cast

import orjson
from aiohttp import web

from backends.types import JsonObject
from proxy.errors import ApiError, ErrorCode


def refuse_compressed(request: web.Request) -> None:
    """Compressed bodies are bombs in waiting, and no client of ours sends them. Raises MEDIA_TYPE."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        message = f"Content-Encoding `{encoding[:40]}` is not accepted; send the body uncompressed."
        raise ApiError(ErrorCode.MEDIA_TYPE, message)


async def read_json(request: web.Request) -> tuple[bytes, JsonObject]:
    """The body as sent and as an object. Raises MEDIA_TYPE, TOO_LARGE or INVALID."""
    if request.content_type != "application/json":
        message = f"Content-Type `{request.content_type[:100]}` is not accepted here; send application/json."
        raise ApiError(ErrorCode.MEDIA_TYPE, message)
    refuse_compressed(request)
    body = await read_body(request)
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(ErrorCode.INVALID, f"The body is not valid JSON: {error}.") from error
    if not isinstance(data, dict):
        raise ApiError(ErrorCode.INVALID, "The body must be a JSON object.")
    return body, cast("JsonObject", data)


async def read_body(request: web.Request) -> bytes:
    """The whole body, bounded by the application's limit. Raises TOO_LARGE, or INVALID when it was cut off."""
    if (request.content_length or 0) > request.client_max_size:
        # Said in advance: it need not be waited for.
        raise too_large(request.client_max_size)
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise too_large(request.client_max_size) from error
    except web.RequestPayloadError as error:
        raise ApiError(ErrorCode.INVALID, "The request body was cut off or is not framed as HTTP says.") from error


def too_large(limit: int) -> ApiError:
    """The error for a body of more than `limit` bytes."""
    return ApiError(ErrorCode.TOO_LARGE, f"The request body is larger than {limit / 1e6:g} MB.")
