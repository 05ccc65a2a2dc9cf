"""Streams of our own making: the first frame before the head, so that an early failure is still a status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

import structlog
from aiohttp import web
from aiohttp.http import HttpVersion11

from backends.errors import BackendError
from proxy.errors import ApiError, ErrorCode, from_backend
from proxy.http.observe import CALL, SERVER
from proxy.http.request_id import HEADER

SSE_HEADERS: Mapping[str, str] = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "Server": SERVER}


async def stream_sse(
    request: web.Request,
    frames: AsyncGenerator[bytes, None],
    error_frame: Callable[[ApiError], bytes],
    *,
    told: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Answer with server-sent events. Errors before the first frame are raised; later ones become error_frame's event.

    told: more headers. The source is closed whatever happens: with it goes the work behind it.
    """
    call = request[CALL]
    async with aclosing(frames):
        first = await anext(frames, b"")
        response = web.StreamResponse(headers={**SSE_HEADERS, **(told or {}), HEADER: call.request_id})
        response.content_type = "text/event-stream"
        response.charset = "utf-8"
        if request.version >= HttpVersion11:
            response.enable_chunked_encoding()
        call.first_byte()
        await response.prepare(request)
        try:
            await response.write(first)
            async for frame in frames:
                await response.write(frame)
        except (BackendError, ApiError) as error:
            failure = from_backend(error) if isinstance(error, BackendError) else error
            call.error = failure.message
            await response.write(error_frame(failure))
        except ConnectionError:
            raise
        except asyncio.CancelledError:
            if request.transport is not None and not request.transport.is_closing():
                # The client is still there: it is the server that stops. It must not take this for the end.
                await response.write(error_frame(ApiError(ErrorCode.UNAVAILABLE, "The server is shutting down.")))
            raise
        except Exception:
            structlog.get_logger("errors").exception("unexpected error in a stream", id=call.request_id)
            failure = ApiError(ErrorCode.INTERNAL, "The server failed in the middle of this answer; its log says why.")
            call.error = failure.message
            await response.write(error_frame(failure))
        await response.write_eof()
    return response
