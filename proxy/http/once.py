"""`Idempotency-Key`: of requests that say the same key within a minute one is done, and its answer is everybody's."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial, wraps
from hashlib import blake2b
from typing import NamedTuple

import orjson
from aiohttp import web

from backends.errors import BackendError, Broken
from proxy.errors import ApiError, ErrorCode, invalid
from proxy.http.body import SENT, read_body
from proxy.http.dialect import Handler
from proxy.http.headers import said_once
from proxy.http.observe import CALL

HEADER = "Idempotency-Key"
LONGEST = 255
KEPT_SECONDS = 60.0
KEPT_BYTES = 16_000_000
KEPT_ANSWERS = 1000
FRAMING = frozenset({"content-length", "transfer-encoding"})


class Answer(NamedTuple):
    """An answer in one piece."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def response(self) -> web.Response:
        """The same once more."""
        return web.Response(status=self.status, headers=self.headers, body=self.body)


class Name(NamedTuple):
    """What a request is known by while it is under way: nobody's key is another caller's."""

    caller: str
    path: str
    key: str


class Flight:
    """A request under way, or lately done. told: headers of ours beside its answer; stream: its answer is one, so that nobody
    else can have it; landed: its answer, its error, or None when its client left it.
    """

    def __init__(self, body: bytes, told: dict[str, str]) -> None:
        self.digest = _digest(body)
        self.told = told
        self.stream = _asks_for_stream(body)
        self.landed: asyncio.Future[Answer | ApiError | BackendError | None] = (
            asyncio.get_running_loop().create_future()
        )


class Flights:
    """Owner of the requests that have a key: of those under way, and for a while of the answers of those that are done."""

    def __init__(self) -> None:
        self._under_way: dict[Name, Flight] = {}
        self._done: OrderedDict[Name, tuple[float, Flight, int]] = OrderedDict()
        self._held = 0

    async def join(
        self, name: Name, body: bytes, told: dict[str, str], serve: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Serve a request, or give the answer of the one of the same name that is being served, or was. Raises what that raised.

        told: headers of ours beside the answer's, which all of them get. Raises INVALID: 422 where that one has another body,
        409 where it is a stream.
        """
        self._forget()
        while (flight := self._under_way.get(name) or self._lately_done(name)) is not None:
            _check_same(flight, body)
            landed = await asyncio.shield(flight.landed)
            told.update(flight.told)
            if isinstance(landed, Answer):
                return landed.response()
            if landed is not None:
                raise landed
        flight = self._under_way[name] = Flight(body, told)
        try:
            response = await serve()
            if isinstance(response, web.Response) and isinstance(response.body, bytes):
                headers = [field for field in response.headers.items() if field[0].lower() not in FRAMING]
                flight.landed.set_result(Answer(response.status, headers, response.body))
                self._keep(name, flight, len(response.body))
            return response
        except (ApiError, BackendError) as error:
            flight.landed.set_result(error)
            raise
        finally:
            del self._under_way[name]
            if not flight.landed.done():
                flight.landed.set_result(None)

    def _lately_done(self, name: Name) -> Flight | None:
        found = self._done.get(name)
        return None if found is None else found[1]

    def _keep(self, name: Name, flight: Flight, size: int) -> None:
        if size <= KEPT_BYTES:
            self._done[name] = asyncio.get_running_loop().time() + KEPT_SECONDS, flight, size
            self._held += size

    def _forget(self) -> None:
        """What was done long ago; and the oldest of too much."""
        now = asyncio.get_running_loop().time()
        while self._done:
            name, (until, _, size) = next(iter(self._done.items()))
            if until > now and self._held <= KEPT_BYTES and len(self._done) <= KEPT_ANSWERS:
                return
            del self._done[name]
            self._held -= size


FLIGHTS = web.AppKey("flights", Flights)


def once(handler: Handler) -> Handler:
    """A handler of JSON that heeds the header. Raises INVALID for a key that is empty, too long, or one of several."""

    @wraps(handler)
    async def heeding(request: web.Request) -> web.StreamResponse:
        key = said_once(request, HEADER)
        if key is None:
            return await handler(request)
        if not 1 <= len(key) <= LONGEST:
            raise invalid(HEADER, f"it has {len(key)} characters, and 1 to {LONGEST} are allowed")
        request[SENT] = body = await read_body(request)
        call = request[CALL]
        name = Name(call.caller.key, request.path, key)
        return await request.app[FLIGHTS].join(name, body, call.told, partial(handler, request))

    return heeding


class Collected:
    """A relay's Sink that keeps the answer, for more than one to have it."""

    chunked_ok = False
    full = False

    def __init__(self, request: web.Request) -> None:
        self._transport = request.transport
        self._head: tuple[int, Sequence[tuple[str, str]]] = (502, ())
        self._parts: list[bytes] = []
        self._cut = False

    @property
    def gone(self) -> bool:
        """Whether the client that began it has left."""
        return self._transport is None or self._transport.is_closing()

    def start(self, status: int, headers: Sequence[tuple[str, str]], *, stream: bool) -> None:
        """The head is there."""
        self._head = status, headers

    def write(self, data: bytes) -> None:
        """Keep it."""
        self._parts.append(data)

    async def drained(self) -> None:
        """There is room."""

    def abort(self) -> None:
        """There will be no more, and that was not all."""
        self._cut = True

    def response(self) -> web.Response:
        """All of it. Raises Broken where it was cut short: nothing of it went out yet."""
        if self._cut:
            raise Broken("The engine cut its answer short; ask again.")
        status, headers = self._head
        kept = [field for field in headers if field[0].lower() not in FRAMING]
        return Answer(status, kept, b"".join(self._parts)).response()


def _check_same(flight: Flight, body: bytes) -> None:
    if flight.digest != _digest(body):
        message = f"Another request had this `{HEADER}`, and its body is another. Choose a key for each request."
        raise ApiError(ErrorCode.INVALID, message, param=HEADER, status=422)
    if flight.stream:
        message = f"The request with this `{HEADER}` is being answered as a stream, which nobody else can join."
        raise ApiError(ErrorCode.INVALID, message, param=HEADER, status=409)


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()


def _asks_for_stream(body: bytes) -> bool:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(asked, dict) and bool(asked.get("stream"))
