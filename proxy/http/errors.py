"""Whatever goes wrong becomes an answer in the dialect of the path: 404 and 405 too."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from backends.errors import BackendError
from proxy.errors import ApiError, ErrorCode, from_backend
from proxy.http.dialect import Dialect, DialectOf, Handler
from proxy.http.observe import CALL
from proxy.http.retry import is_safe

# What the client has yet to send, or said in another protocol, would be taken for its next request.
CLOSING = frozenset({408, 505})


def render_errors(dialect_of: DialectOf, was_cut: Callable[[], bool]) -> Middleware:
    """The middleware that turns exceptions into answers. After the first byte it can only close the connection.

    was_cut: whether the current task was cancelled by the server's own leaving.
    """
    log = structlog.get_logger("errors")

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        # Each error is answered where it is caught: one that outlives its clause holds, with its traceback, all that the
        # request held, until cycles are collected.
        try:
            if request.version.major != 1:
                raise _http_1_only()
            request[CALL].safe = is_safe(request)
            return await handler(request)
        except ApiError as caught:
            return answer(request, caught)
        except BackendError as caught:
            if caught.__cause__ is not None and from_backend(caught).status >= 500:
                log.warning("engine failed", id=request[CALL].request_id, cause=_cause(caught.__cause__))
            return answer(request, from_backend(caught))
        except web.HTTPException as caught:
            return answer(request, _from_http(request, caught))
        except asyncio.CancelledError:
            if not was_cut() or not _can_answer(request):
                raise
            message = "The server is shutting down; try again."
            return answer(request, ApiError(ErrorCode.UNAVAILABLE, message, retry_after=1))
        except ConnectionError:
            # The client's socket broke under our hands; aiohttp ends the request.
            raise
        except Exception:
            log.exception("unexpected error", id=request[CALL].request_id, path=request.path)
            message = "The server failed to handle this request; its log says why."
            return answer(request, ApiError(ErrorCode.INTERNAL, message))

    def answer(request: web.Request, error: ApiError) -> web.Response:
        request[CALL].error = error.message
        response = error_response(error, dialect_of(request.path))
        if error.status in CLOSING:
            response.force_close()
        return response

    return middleware


def error_response(error: ApiError, dialect: Dialect) -> web.Response:
    """The answer that tells this error in this dialect."""
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return web.Response(
        body=dialect.render_error(error), status=error.status, content_type="application/json", headers=headers
    )


def _http_1_only() -> ApiError:
    return ApiError(ErrorCode.UNSUPPORTED, "Speak HTTP/1.1 here: no other version was agreed on.", status=505)


def _can_answer(request: web.Request) -> bool:
    """Whether the client is still there, and nothing was sent to it yet."""
    call = request[CALL]
    passed = call.relayed
    begun = call.first_byte_at is not None or (
        passed is not None and (passed.first_byte_at is not None or passed.error is not None)
    )
    return not begun and request.transport is not None and not request.transport.is_closing()


def _cause(cause: BaseException) -> str:
    """What an operator needs to know; the words of other exceptions may quote the request."""
    name = type(cause).__name__
    return f"{name}: {cause}" if isinstance(cause, (OSError, RuntimeError)) else name


def _from_http(request: web.Request, error: web.HTTPException) -> ApiError:
    where = f"{request.method} {request.path[:200]}"
    match error:
        case web.HTTPNotFound():
            return ApiError(ErrorCode.NOT_FOUND, f"There is no {where} here.")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            message = f"{where} is not allowed; use {allowed}."
            return ApiError(ErrorCode.METHOD_NOT_ALLOWED, message, headers={"Allow": allowed})
        case web.HTTPRequestEntityTooLarge():
            return ApiError(ErrorCode.TOO_LARGE, "The request body is too large.")
        case _:
            return ApiError(ErrorCode.INVALID, error.reason, status=error.status)
