"""A WebSocket as a conversation sees it: who may open one, that its client is alive, and how it ends."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from typing import TypeAlias

import structlog
from aiohttp import WSMsgType, hdrs, web

from proxy.errors import ApiError, ErrorCode
from proxy.http.observe import CALL, SERVER
from proxy.http.origins import is_own
from proxy.http.request_id import HEADER

PROTOCOL = "switchboard.v1"
"""The one subprotocol; browsers that offer a key beside it need one to be chosen."""
BEARER = "bearer."
"""Before a key (base64url, unpadded) in Sec-WebSocket-Protocol: browsers can send no Authorization."""

MAX_MESSAGE = 1 << 20
PING_SECONDS = 20.0
STALLED_SECONDS = 20.0
GOODBYE_SECONDS = 5.0

NORMAL, GOING_AWAY, INTERNAL, TRY_AGAIN = 1000, 1001, 1011, 1013
LONGEST_REASON = 123


class Goodbye(Exception):
    """The conversation ends: close the connection with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Gone(Exception):
    """The client has closed the connection, or does not answer."""


class Socket:
    """An open WebSocket. Whatever is sent is one text frame; writing waits for the client to read, up to a limit."""

    def __init__(self, response: web.WebSocketResponse) -> None:
        self._response = response

    async def send(self, text: bytes) -> None:
        """Send a message (UTF-8). Raises Goodbye when the client has read nothing for long, Gone when it has left."""
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await self._response.send_frame(text, WSMsgType.TEXT)
        except TimeoutError as error:
            raise Goodbye(TRY_AGAIN, "too slow: nothing was read for a while") from error
        except ConnectionError as error:
            raise Gone from error

    async def receive(self) -> str | bytes:
        """The next message: text, or bytes. A silent client is asked for a sign of life. Raises Gone."""
        asked = False
        while True:
            try:
                message = await self._response.receive(timeout=PING_SECONDS)
            except TimeoutError as error:
                if asked:
                    raise Gone from error
                asked = True
                with suppress(ConnectionError):  # the next receive() says what is to be said
                    await self._response.ping()
                continue
            asked = False
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    data: str | bytes = message.data
                    return data
                case WSMsgType.PING:
                    await self._response.pong(message.data)
                case WSMsgType.PONG:
                    pass
                case _:
                    raise Gone


Talk: TypeAlias = Callable[[Socket], Awaitable[None]]


async def converse(request: web.Request, origins: Collection[str], talk: Talk) -> web.StreamResponse:
    """Open a WebSocket for this request, talk, and close it. origins: other web sites that may open one.

    A handler of its own path ends with it. Raises ApiError before the connection is upgraded, and nothing of its own after.
    """
    _check_handshake(request)
    check_origin(request.headers.get(hdrs.ORIGIN), request.host, origins)
    # Uncompressed: a compressor for each listener costs more memory than all else, and messages are small.
    response = web.WebSocketResponse(
        protocols=(PROTOCOL,),
        autoping=False,
        autoclose=False,
        compress=False,
        max_msg_size=MAX_MESSAGE,
        timeout=GOODBYE_SECONDS,
    )
    call = request[CALL]
    response.headers.update({HEADER: call.request_id, "Server": SERVER})
    await response.prepare(request)
    call.first_byte()
    end = Goodbye(NORMAL, "")
    try:
        await talk(Socket(response))
    except Goodbye as said:
        end = said
    except Gone:
        pass
    except asyncio.CancelledError:
        if request.transport is not None and not request.transport.is_closing():
            end = Goodbye(GOING_AWAY, "the server is shutting down")
        raise
    except Exception:
        structlog.get_logger("errors").exception("unexpected error in a conversation", id=call.request_id)
        end = Goodbye(INTERNAL, "the server failed; its log says why")
    finally:
        if end.code != NORMAL:
            call.error = f"{end.code} {end.reason}"
        await _close(request, response, end)
    return response


async def _close(request: web.Request, response: web.WebSocketResponse, end: Goodbye) -> None:
    """Say goodbye to whoever is still there; one that does not take it in time is cut off."""
    try:
        async with asyncio.timeout(2 * GOODBYE_SECONDS):
            await response.close(code=end.code, message=end.reason.encode()[:LONGEST_REASON])
    except TimeoutError:
        pass
    finally:
        # Closing waits for all that was written to be read; a client that reads nothing would hold it for ever.
        if request.transport is not None:
            request.transport.abort()


async def race(*sides: Coroutine[object, object, None]) -> None:
    """Run all side by side until the first ends, as it ends; the others are cancelled and have ended, too."""
    tasks = [asyncio.ensure_future(side) for side in sides]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def check_origin(origin: str | None, host: str, allowed: Collection[str]) -> None:
    """Let in what is no browser, the door's own pages and the sites allowed. Raises FORBIDDEN.

    Browsers let any page open WebSockets to anywhere, and only say which page it was (RFC 6455, section 10.2).
    """
    if not (origin is None or origin in allowed or is_own(origin, host)):
        message = f"Pages of `{origin[:200]}` may not connect. Add it to SWITCHBOARD_ALLOWED_ORIGINS if they should."
        raise ApiError(ErrorCode.FORBIDDEN, message)


def bearer_of(offered: str | None) -> str | None:
    """The Authorization that a Sec-WebSocket-Protocol header stands for, or None.

    >>> bearer_of("switchboard.v1, bearer.c2VjcmV0")
    'Bearer secret'
    """
    for name in (offered or "").split(","):
        if name.strip().startswith(BEARER):
            coded = name.strip().removeprefix(BEARER)
            try:
                key = urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode()
            except ValueError:  # of no base64, and of no UTF-8
                return "Bearer "
            return f"Bearer {key}"
    return None


def _check_handshake(request: web.Request) -> None:
    if request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
        message = f"{request.path[:200]} is a WebSocket: open it with a WebSocket client."
        raise ApiError(
            ErrorCode.INVALID, message, status=426, headers={"Upgrade": "websocket", "Connection": "Upgrade"}
        )
