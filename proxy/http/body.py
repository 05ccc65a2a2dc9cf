"""Reading request bodies: of the right type, not compressed, and never more than allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import cast

import orjson
from aiohttp import web
from aiohttp.http import HttpVersion11

from backends.types import JsonObject
from proxy.errors import ApiError, ErrorCode
from proxy.http.observe import CALL

SENT = web.RequestKey("sent", bytes)
"""The body, where it was read before its handler asks for it."""
PATIENCE = web.AppKey("patience", float)
"""Seconds for which a body may stand still."""
SLOWEST = 1000.0
"""Bytes a second that a body must make on the whole, once it has had that long."""


def refuse_compressed(request: web.Request) -> None:
    """Compressed bodies are bombs in waiting, and no client of ours sends them. Raises MEDIA_TYPE or UNSUPPORTED (501)."""
    if request.content_length is None:
        coding = request.headers.get("Transfer-Encoding", "chunked")
        if coding.strip().lower() != "chunked":
            message = (
                f"Transfer-Encoding `{coding[:40]}` is not implemented here; send the body plain, or chunked alone."
            )
            raise ApiError(ErrorCode.UNSUPPORTED, message, status=501)
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
    """The whole body, bounded by the application's limit.

    Raises TOO_LARGE, REQUEST_TIMEOUT, or INVALID when it was cut off.
    """
    sent: bytes | None = request.get(SENT)
    if sent is not None:
        return sent
    body = await _bounded(request, request.client_max_size)
    request[CALL].size = len(body)
    return body


async def _bounded(request: web.Request, limit: int) -> bytes:
    try:
        if request.content.is_eof() and (request.content_length or 0) <= limit:
            # It came with the head, as most bodies do.
            body = request.content.read_nowait()
            if len(body) > limit:
                raise too_large(limit)
            return body
        return b"".join([chunk async for chunk in chunks(request, limit)])
    except web.RequestPayloadError as error:
        raise ApiError(ErrorCode.INVALID, "The request body was cut off or is not framed as HTTP says.") from error


async def chunks(request: web.Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it arrives. limit: bytes; the rest of a larger one is not read.

    Raises TOO_LARGE, REQUEST_TIMEOUT when nothing comes for the application's PATIENCE or it crawls, or web.RequestPayloadError.
    """
    if (request.content_length or 0) > limit:
        # Said in advance: it need not be waited for.
        raise too_large(limit)
    content = request.content
    if not content.is_eof():
        await _continue(request)
    received = 0
    begun = asyncio.get_running_loop().time()
    while not content.at_eof():
        # What has arrived with the head, as most bodies have, needs no timer.
        chunk = await (content.readany() if content.is_eof() else _patiently(request, begun, received))
        received += len(chunk)
        if received > limit:
            raise too_large(limit)
        yield chunk


async def _continue(request: web.Request) -> None:
    """Tell a client that asked (`Expect: 100-continue`) that its body is welcome."""
    expected = any(
        name.lower() == b"expect" and value.lower() == b"100-continue" for name, value in request.raw_headers
    )
    if expected and request.version >= HttpVersion11 and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _patiently(request: web.Request, begun: float, received: int) -> bytes:
    """What comes next. A body must not stand still for long, nor crawl: a byte now and then buys no time."""
    patience = request.app[PATIENCE]
    loop = asyncio.get_running_loop()
    still, crawling = loop.time() + patience, begun + patience + received / SLOWEST
    try:
        async with asyncio.timeout_at(min(still, crawling)):
            return await request.content.readany()
    except TimeoutError as error:
        message = f"No more of the request body came for {patience:g} seconds."
        if crawling < still:
            message = f"The request body comes slower than {SLOWEST:g} bytes a second."
        raise ApiError(ErrorCode.REQUEST_TIMEOUT, message) from error


def too_large(limit: int) -> ApiError:
    """The error for a body of more than `limit` bytes."""
    return ApiError(ErrorCode.TOO_LARGE, f"The request body is larger than {limit / 1e6:g} MB.")
