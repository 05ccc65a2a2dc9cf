"""A TGI 3.3.6 in all but the model: its routes, strictness, errors and quirks over real sockets, with scripted words.

Facts: text-generation-inference v3.3.6, router/src/{server,chat,lib,validation}.rs.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

from backends.types import Json, JsonObject
from tests.engines import tgi_native, tgi_openai
from tests.engines.tgi_failures import REFUSALS, Failure, fail_head, fail_stream, fail_whole
from tests.engines.tgi_openai import MODEL, Call
from tests.engines.tgi_validation import Limits, Refused, parse, read_chat, read_completion, read_native
from tests.engines.tgi_words import Script, heard


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came. body: None unless it is a JSON object."""

    method: str
    path: str
    headers: dict[str, str]
    body: JsonObject | None


@dataclass(slots=True)
class TgiDouble:
    """A server on a free port of 127.0.0.1 while its `async with` block runs.

    script: the words for a prompt and seed; pace: seconds between tokens; key: --api-key. requests: what came;
    aborts: paths of requests whose client left before the answer was complete.
    """

    script: Script = heard
    key: str | None = None
    pace: float = 0.0
    comments: bool = False
    limits: Limits = field(default_factory=Limits)
    requests: list[Received] = field(default_factory=list)
    aborts: list[str] = field(default_factory=list)
    url: str = ""
    running: int = 0
    most_running: int = 0
    _failure: Failure | None = None
    _after: int = 0
    _tool: Call | None = None
    _recorded: deque[Json] = field(default_factory=deque)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2 * self.limits.payload)
        app.add_routes(
            [
                web.get("/", self._health),
                web.get("/health", self._health),
                web.get("/ping", self._health),
                web.get("/info", self._info),
                web.get("/metrics", self._metrics),
                web.get("/v1/models", self._models),
                web.post("/", self._native),
                web.post("/generate", self._native),
                web.post("/generate_stream", self._native),
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/completions", self._completion),
                web.post("/tokenize", self._tokenize),
            ]
        )
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    # ------------------------------------------------------------------- what a test sets and waits for

    def fail(self, failure: Failure | None, *, after: int = 0) -> None:
        """Fail every answer from now on, after so many tokens; None: work again."""
        self._failure, self._after = failure, after

    def call_tool(self, name: str, arguments: str) -> None:
        """Answer chats that bring tools by this call, unless they say tool_choice none."""
        self._tool = Call(name, arguments)

    def replay(self, recording: Json) -> None:
        """Answer the next request with a recorded reply: a list of chunks as a stream, an object as it is."""
        self._recorded.append(recording)

    async def aborted(self, count: int = 1, *, within: float = 1.0) -> None:
        """Wait until so many clients have left. Raises TimeoutError."""
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(lambda: len(self.aborts) >= count)

    async def busy(self, count: int = 1, *, within: float = 1.0) -> None:
        """Wait until so many requests are being served. Raises TimeoutError."""
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(lambda: self.running >= count)

    # ------------------------------------------------------------------- open routes

    async def _health(self, request: web.Request) -> web.Response:
        self._note(request, b"")
        if self._failure == "unhealthy":
            return web.json_response({"error": "unhealthy", "error_type": "healthcheck"}, status=503)
        return web.Response()

    async def _info(self, request: web.Request) -> web.Response:
        self._note(request, b"")
        limits = self.limits
        return web.json_response(
            {
                "model_id": MODEL, "model_sha": None, "model_pipeline_tag": "text-generation",
                "max_concurrent_requests": limits.max_concurrent_requests, "max_best_of": limits.max_best_of,
                "max_stop_sequences": limits.max_stop_sequences, "max_input_tokens": limits.max_input_tokens,
                "max_total_tokens": limits.max_total_tokens, "validation_workers": 2,
                "max_client_batch_size": limits.max_client_batch_size, "router": "text-generation-router",
                "version": "3.3.6", "sha": None, "docker_label": None,
            }
        )  # fmt: skip

    async def _metrics(self, request: web.Request) -> web.Response:
        counted = sum(received.method == "POST" for received in self.requests)
        return web.Response(
            text=f"tgi_queue_size 0\ntgi_batch_current_size {self.running}\ntgi_request_count {counted}\n"
        )

    async def _models(self, request: web.Request) -> web.Response:
        entry = {"id": MODEL, "object": "model", "created": 0, "owned_by": MODEL}
        return web.json_response({"object": "list", "data": [entry]})

    # ------------------------------------------------------------------- routes behind the key

    async def _tokenize(self, request: web.Request) -> web.StreamResponse:
        async def answer(body: JsonObject) -> web.StreamResponse:
            words = re.finditer(r"\s*\S+", str(body.get("inputs", "")))
            return web.json_response(
                [
                    {"id": 100 + number, "text": word[0], "start": word.start(), "stop": word.end()}
                    for number, word in enumerate(words)
                ]
            )

        return await self._serve(request, answer)

    async def _native(self, request: web.Request) -> web.StreamResponse:
        async def answer(body: JsonObject) -> web.StreamResponse:
            streams = request.path == "/generate_stream" or (request.path == "/" and body.get("stream") is True)
            if not streams:
                whole = tgi_native.whole(self.script, read_native(body, self.limits))
                return web.json_response(
                    [whole] if request.path == "/" else whole, headers={"x-compute-type": "gpu+optimized"}
                )
            return await self._stream(
                request, lambda: tgi_native.events(self.script, read_native(body, self.limits)), done=False
            )

        return await self._serve(request, answer)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        def whole(body: JsonObject) -> JsonObject:
            return tgi_openai.chat(self.script, self._tool, body, read_chat(body, self.limits))

        def events(body: JsonObject) -> Iterable[Json]:
            return tgi_openai.chat_events(self.script, self._tool, body, read_chat(body, self.limits))

        return await self._openai(request, whole, events)

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        def whole(body: JsonObject) -> JsonObject:
            return tgi_openai.completion(self.script, read_completion(body, self.limits))

        def events(body: JsonObject) -> Iterable[Json]:
            return tgi_openai.completion_events(self.script, read_completion(body, self.limits))

        return await self._openai(request, whole, events)

    async def _openai(
        self,
        request: web.Request,
        whole: Callable[[JsonObject], JsonObject],
        events: Callable[[JsonObject], Iterable[Json]],
    ) -> web.StreamResponse:
        async def answer(body: JsonObject) -> web.StreamResponse:
            if not body.get("stream"):
                return web.json_response(whole(body))
            try:
                events(body)
            except Refused as refused:
                # What is wrong with its values, TGI finds out when the stream has begun.
                if refused.kind != "validation":
                    raise
            return await self._stream(request, lambda: events(body), done=True)

        return await self._serve(request, answer)

    # ------------------------------------------------------------------- one request's life

    async def _serve(
        self, request: web.Request, answer: Callable[[JsonObject], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        raw = await request.read()
        self._note(request, raw)
        if self.key is not None and request.headers.get("Authorization", "").lower() != f"bearer {self.key}".lower():
            return web.Response(status=401)
        await self._count(1)
        try:
            body = parse(raw, request.headers.get("Content-Type", ""), self.limits)
            if self._recorded and isinstance(self._recorded[0], dict):
                return web.json_response(self._recorded.popleft())
            if not (self._recorded or _wants_stream(request.path, body)):
                await fail_whole(self._failure, crowded=self._crowded)
            return await answer(body)
        except Refused as refused:
            if refused.kind is None:
                return web.Response(text=refused.text, status=refused.status)
            return web.json_response({"error": refused.text, "error_type": refused.kind}, status=refused.status)
        except (asyncio.CancelledError, ConnectionError):
            self.aborts.append(request.path)
            raise
        finally:
            await self._count(-1)

    def _note(self, request: web.Request, raw: bytes) -> None:
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Received(request.method, request.path, headers, body if isinstance(body, dict) else None))

    async def _count(self, change: int) -> None:
        self.running += change
        self.most_running = max(self.most_running, self.running)
        async with self._changed:
            self._changed.notify_all()

    @property
    def _crowded(self) -> bool:
        return self.running > self.limits.max_concurrent_requests

    async def _stream(
        self, request: web.Request, events: Callable[[], Iterable[Json]], *, done: bool
    ) -> web.StreamResponse:
        """Events after a 200; whatever goes wrong from here on is an event too."""
        fail_head(self._failure)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        sent = 0
        try:
            if self._crowded:
                raise REFUSALS["overloaded"]
            for event in self._replayed() if self._recorded else events():
                if self._failure and sent >= self._after and await fail_stream(self._failure, request, response):
                    return response
                if self.comments:
                    await response.write(b":\n\n")
                await response.write(
                    b"data: " + json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"
                )
                sent += 1
                await asyncio.sleep(self.pace)
        except Refused as refused:
            error: JsonObject = {"error": refused.text, "error_type": refused.kind}
            if done:
                error = {"error": {"message": refused.text, "http_status_code": 422}}
            await response.write(b"data: " + json.dumps(error).encode() + b"\n\n")
        if done and self._failure != "no_done":
            await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    def _replayed(self) -> list[Json]:
        recording = self._recorded.popleft()
        return recording if isinstance(recording, list) else [recording]


def _wants_stream(path: str, body: JsonObject) -> bool:
    return path == "/generate_stream" or (
        path in ("/", "/v1/chat/completions", "/v1/completions") and bool(body.get("stream"))
    )
