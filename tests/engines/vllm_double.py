"""A double of vLLM: a real HTTP server speaking its API, with faults to order and a record of what it saw."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from hashlib import sha256
from typing import Literal, TypeAlias, cast

from aiohttp import web

from backends.types import Json, JsonObject
from tests.engines.vllm_generation import Generated, Generator, Refusal, detokenize
from tests.engines.vllm_wire import CREATED, ERRORS, Wire, tokenized

DONE = b"data: [DONE]\n\n"
WAIT_SECONDS = 5.0

Kind: TypeAlias = Literal["reset", "cut", "hang", "end", "error", "garbage", "status", "not_json", "slow"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived; headers in any case. connection: the same number for requests that came over one connection."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> JsonObject:
        """The body as an object."""
        return cast("JsonObject", json.loads(self.body))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one answer, and where.

    after: None = instead of the head; 0 = after the head; n = after n events of a stream, and -1 = before the last one
    (`[DONE]`), as in a slice. A whole answer has its head and half of its body out, whatever the number.

    reset: the connection is reset. cut: it is closed, the framing left unfinished. hang: nothing more comes.
    end: the stream ends as if it were complete. error: an error event and `[DONE]`, as vLLM tells a failure in a
    stream; both are for streams only. garbage: bytes that are no HTTP. status: `status` with `body` (vLLM's own where
    None) and `headers`. not_json: 200 with a page of HTML. slow: `seconds` before each event, or before a whole answer.
    """

    kind: Kind
    after: int | None = None
    status: int = 500
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


class VllmDouble:
    """Use as `async with VllmDouble() as engine:`. Answers are a pure function of the request (see Generator).

    requests: all POSTs seen; aborts: those whose client left before the answer was out; running: being answered now; waiting: how
    many it says wait beside them.
    healthy: what `/health` says. key: when set, `/v1` asks for it.
    """

    def __init__(
        self, model: str = "nano-chat", *, replies: Mapping[str, str] | None = None, key: str | None = None
    ) -> None:
        self.model = model
        self.key = key
        self.healthy = True
        self.requests: list[Seen] = []
        self.aborts: list[Seen] = []
        self.running = 0
        self.waiting = 0
        self._generator = Generator(model, replies or {})
        self._faults: deque[Fault] = deque()
        self._connections: dict[object, int] = {}
        self._changed = asyncio.Event()
        self._port = 0

    async def __aenter__(self) -> VllmDouble:
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """The base URL, without /v1."""
        return f"http://127.0.0.1:{self._port}"

    def fail(self, *faults: Fault) -> None:
        """Spoil the next answers, one fault each, in this order."""
        self._faults.extend(faults)

    async def until(self, true: Callable[[VllmDouble], bool]) -> None:
        """Wait for a fact about this engine. Raises TimeoutError after five seconds."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not true(self):
                await self._changed.wait()

    @asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """For as long as the block lasts nothing listens there; connections that were open are closed."""
        await self._runner.cleanup()
        yield
        await self._start()

    # ----------------------------------------------------------------------- server

    async def _start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._generate(self._generator.chat, _chat_frames, Wire.chat)),
                web.post("/v1/completions", self._generate(self._generator.completion, _text_frames, Wire.completion)),
                web.post("/v1/responses", self._generate(self._generator.response, _event_frames, Wire.response)),
                web.post("/v1/audio/transcriptions", self._recorded(self._transcribe)),
                web.post("/tokenize", self._plain(lambda request: tokenized(self._generator.tokens(request)))),
                web.post("/detokenize", self._plain(lambda request: {"prompt": detokenize(_ids(request))})),
                web.get("/v1/models", self._models),
                web.get("/health", self._health),
                web.get("/metrics", self._metrics),
                web.route("*", "/{path:.*}", self._nothing),
            ]
        )
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]

    def _generate(
        self,
        generate: Callable[[JsonObject], Generated],
        frames: Callable[[Wire], Iterable[bytes]],
        whole: Callable[[Wire], JsonObject],
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request, body: bytes, fault: Fault | None) -> web.StreamResponse:
            asked = cast("JsonObject", json.loads(body))
            sent_id = request.headers.get("X-Request-Id")
            wire = Wire(asked, generate(asked), self.model, sent_id or sha256(body).hexdigest()[:16])
            if asked.get("stream"):
                return await _stream(request, frames(wire), fault)
            return await _whole(request, whole(wire), fault)

        return self._recorded(answer)

    async def _transcribe(self, request: web.Request, body: bytes, fault: Fault | None) -> web.StreamResponse:
        asked = form_fields(request.headers["Content-Type"], body)
        file = asked.get("file", b"")
        if not file:
            raise Refusal(400, "File not found or empty.", param="file")
        self._generator.check({"model": asked.get("model", b"").decode() or None})
        heard = f"{len(file)} bytes"
        if asked.get("stream") == b"true":
            return await _stream(request, _heard_frames(heard), fault)
        return await _whole(request, {"text": heard, "usage": {"type": "duration", "seconds": 1}}, fault)

    def _plain(
        self, answer: Callable[[JsonObject], JsonObject]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handler(request: web.Request, body: bytes, fault: Fault | None) -> web.StreamResponse:
            return await _whole(request, answer(cast("JsonObject", json.loads(body))), fault)

        return self._recorded(handler)

    def _recorded(
        self, answer: Callable[[web.Request, bytes, Fault | None], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A handler that keeps the books and turns what cannot be served into vLLM's errors."""

        async def handler(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            seen = Seen(request.method, request.path, request.headers, body, self._connection(request))
            self.requests.append(seen)
            fault = self._faults.popleft() if self._faults else None
            self._note(+1)
            try:
                self._authorize(request)
                if fault is not None and fault.after is None:
                    return await _before_head(request, fault) or await answer(request, body, fault)
                return await answer(request, body, fault)
            except (asyncio.CancelledError, ConnectionError):
                if fault is None or fault.kind not in {"reset", "cut", "garbage"}:
                    self.aborts.append(seen)
                raise
            except Refusal as refusal:
                return web.json_response(refusal.body, status=refusal.status)
            except json.JSONDecodeError as error:
                message = f"1 validation error:\n  {{'type': 'json_invalid', 'msg': 'JSON decode error: {error}'}}"
                return web.json_response(Refusal(400, message, kind="Bad Request").body, status=400)
            finally:
                self._note(-1)

        return handler

    def _connection(self, request: web.Request) -> int:
        return self._connections.setdefault(request.protocol, len(self._connections))

    def _note(self, change: int) -> None:
        self.running += change
        self._changed.set()
        self._changed = asyncio.Event()

    def _authorize(self, request: web.Request) -> None:
        if self.key and request.path.startswith("/v1") and request.headers.get("Authorization") != f"Bearer {self.key}":
            refusal = Refusal(401, "Unauthorized")
            refusal.body = ERRORS[401]
            raise refusal

    # ----------------------------------------------------------------------- what is not generated

    async def _models(self, _: web.Request) -> web.Response:
        card: JsonObject = {
            "id": self.model,
            "object": "model",
            "created": CREATED,
            "owned_by": "vllm",
            "root": self.model,
        }
        return web.json_response({"object": "list", "data": [{**card, "max_model_len": 1024}]})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        labels = f'{{engine="0",model_name="{self.model}"}}'
        told = {"num_requests_running": self.running, "num_requests_waiting": self.waiting, "kv_cache_usage_perc": 0.0}
        return web.Response(text="".join(f"vllm:{name}{labels} {float(value)}\n" for name, value in told.items()))

    async def _nothing(self, _: web.Request) -> web.Response:
        return web.json_response({"detail": "Not Found"}, status=404)


# --------------------------------------------------------------------------- frames


def _chat_frames(wire: Wire) -> Iterator[bytes]:
    yield from map(_data, wire.chat_chunks())
    yield DONE


def _text_frames(wire: Wire) -> Iterator[bytes]:
    yield from map(_data, wire.completion_chunks())
    yield DONE


def _event_frames(wire: Wire) -> Iterator[bytes]:
    return (f"event: {event['type']}\n".encode() + _data(event) for event in wire.response_events())


def _heard_frames(heard: str) -> Iterator[bytes]:
    """vLLM's own stream of a transcript: chunks as of a chat, not OpenAI's events."""
    frame: JsonObject = {"id": "trsc-1", "object": "transcription.chunk", "created": CREATED, "model": "whisper"}
    for word in heard.split():
        yield _data({**frame, "choices": [{"delta": {"content": f" {word}"}, "finish_reason": None}]})
    yield _data({**frame, "choices": [{"delta": {"content": ""}, "finish_reason": "stop"}]})
    yield DONE


def form_fields(content_type: str, body: bytes) -> dict[str, bytes]:
    """The fields of a form by name, read by the standard library's parser of messages."""
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    return {
        str(part.get_param("name", header="Content-Disposition")): cast("bytes", part.get_payload(decode=True))
        for part in message.iter_parts()
    }


def _data(value: JsonObject) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def _ids(request: JsonObject) -> list[Json]:
    return cast("list[Json]", request.get("tokens", []))


# --------------------------------------------------------------------------- answers, sound or spoilt


async def _before_head(request: web.Request, fault: Fault) -> web.Response | None:
    """The answer that a fault puts in the place of the real one; None where it only spoils what follows."""
    match fault.kind:
        case "status":
            body = fault.body if fault.body is not None else json.dumps(ERRORS[fault.status]).encode()
            headers = {"Content-Type": "application/json", **fault.headers}
            return web.Response(status=fault.status, body=body, headers=headers)
        case "not_json":
            return web.Response(text="<html>It works!</html>", content_type="text/html")
        case "slow" | "end" | "error":
            return None
    await _break(request, fault)
    return None


async def _stream(request: web.Request, frames: Iterable[bytes], fault: Fault | None) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    pause = fault.seconds if fault is not None and fault.kind == "slow" else 0.0
    broken = fault is not None and fault.kind != "slow"
    for frame in list(frames)[: (fault.after or 0)] if fault is not None and broken else frames:
        await asyncio.sleep(pause)
        await response.write(frame)
    if fault is not None and fault.kind == "error":
        await response.write(_data(ERRORS[500]) + DONE)
    elif fault is not None and fault.kind not in {"slow", "end"}:
        await _break(request, fault)
    await response.write_eof()
    return response


async def _whole(request: web.Request, answer: JsonObject, fault: Fault | None) -> web.StreamResponse:
    body = json.dumps(answer, separators=(",", ":")).encode()
    if fault is None or fault.kind == "slow":
        await asyncio.sleep(fault.seconds if fault is not None else 0.0)
        return web.Response(body=body, content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    await _break(request, fault)
    return response


async def _break(request: web.Request, fault: Fault) -> None:
    """End the connection, or leave it silent, as the fault says; returns only by the cancellation that follows."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client has gone")
    match fault.kind:
        case "reset":
            connection = cast("socket.socket", transport.get_extra_info("socket"))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        case "cut":
            transport.close()
        case "garbage":
            transport.write(b"zz garbage \x00\xff\r\n\r\n")
            transport.close()
        case "hang":
            pass
        case _:
            raise ValueError(f"a fault of kind {fault.kind!r} cannot strike here")
    await asyncio.Event().wait()
