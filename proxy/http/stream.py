"""Streams of our own making: the first frame before the head, so that an early failure is still a status."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

import structlog
from aiohttp import web
from aiohttp.http import HttpVersion11

from backends.errors import BackendError
from proxy.errors import ApiError, ErrorCode, from_backend
from proxy.http.observe import CALL, SERVER
from proxy.http.request_id import HEADER
from proxy.http.waiting import Comments

SSE_HEADERS: Mapping[str, str] = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "Server": SERVER}


async def stream_sse(
    request: web.Request,
    frames: AsyncGenerator[bytes, None],
    error_frame: Callable[[ApiError], bytes] | None,
    *,
    told: Mapping[str, str] | None = None,
    content_type: str = "text/event-stream; charset=utf-8",
    waiting: Callable[[], bytes | None] | None = None,
) -> web.StreamResponse:
    """Answer with server-sent events. Errors before the first frame are raised; later ones become error_frame's event.

    error_frame: None where the dialect has no words for that: then the connection is cut. told: more headers. waiting: the
    comment to send now while the first frame is not there, None = none: with the first one the head goes out.
    The source is closed whatever happens: with it goes the work behind it.
    """
    call = request[CALL]
    response = web.StreamResponse(headers={**SSE_HEADERS, **(told or {}), **call.told, HEADER: call.request_id})
    response.headers["Content-Type"] = content_type
    if request.version >= HttpVersion11:
        response.enable_chunked_encoding()
    async with aclosing(frames):
        try:
            async with Comments(request, response, waiting):
                first = await anext(frames, b"")
            call.first_byte()
            if not response.prepared:
                # Another model may have stepped in meanwhile.
                response.headers.update(call.told)
                await response.prepare(request)
            await response.write(first)
            async for frame in frames:
                await response.write(frame)
        except ConnectionError:
            raise
        except asyncio.CancelledError:
            if response.prepared and request.transport is not None and not request.transport.is_closing():
                # The client is still there: it is the server that stops. It must not take this for the end.
                await _tell(
                    request, response, error_frame, ApiError(ErrorCode.UNAVAILABLE, "The server is shutting down.")
                )
            raise
        except Exception as error:
            if not response.prepared:
                raise
            failure = failure_of(error, call.request_id)
            call.error = failure.message
            await _tell(request, response, error_frame, failure)
        if request.transport is not None and not request.transport.is_closing():
            await response.write_eof()
    return response


def failure_of(error: Exception, request_id: str) -> ApiError:
    """What went wrong in the middle of an answer, in the door's words; what nobody expected is logged."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, BackendError):
        return from_backend(error)
    structlog.get_logger("errors").error("unexpected error in a stream", id=request_id, exc_info=error)
    return ApiError(ErrorCode.INTERNAL, "The server failed in the middle of this answer; its log says why.")


async def _tell(
    request: web.Request,
    response: web.StreamResponse,
    error_frame: Callable[[ApiError], bytes] | None,
    failure: ApiError,
) -> None:
    """Say in the middle of an answer that it is not whole."""
    if error_frame is not None:
        await response.write(error_frame(failure))
    elif request.transport is not None:
        cut(request.transport, framed=request.version >= HttpVersion11)


def cut(transport: asyncio.Transport, *, framed: bool) -> None:
    """Close the client's connection so that it cannot take this for the answer's end. framed: by chunks, whose last is missing."""
    if not framed:
        # All that is left to tell by is a reset: the socket has it sent when it is closed with no time to linger.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
