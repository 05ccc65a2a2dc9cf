"""A TGI 3.3.6 in all but the model: its routes, strictness, errors and quirks over real sockets, with scripted words.

Facts: text-generation-inference v3.3.6, router/src/{server,chat,lib,validation}.rs.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Self, TypeAlias

from aiohttp import web

from backends.types import Json, JsonObject
from tests.engines.tgi_validation import Generate, Limits, Refused, parse, read_chat, read_completion, read_native

MODEL: Final = "double/tiny-chat"
FINGERPRINT: Final = "3.3.6-native"

Script: TypeAlias = Callable[[str, int | None], Sequence[str]]
Failure: TypeAlias = Literal[
    "overloaded",
    "generation",
    "incomplete",
    "unhealthy",
    "bad_gateway",
    "cut",
    "hang",
    "no_done",
    "unfinished",
    "garbage",
]

_FAILURES: Final = {
    "overloaded": Refused(429, "Model is overloaded", "overloaded"),
    "generation": Refused(424, "Request failed during generation: CUDA out of memory", "generation"),
    "incomplete": Refused(500, "Incomplete generation stream", "incomplete_generation_stream"),
}


def heard(prompt: str, seed: int | None) -> list[str]:
    """The double's words unless told otherwise: those of the prompt's last line, and the seed if there is one."""
    words = re.findall(r"\s*\S+", prompt.rpartition("\n")[2].partition(": ")[2] or prompt)
    return [
        "I",
        " heard:",
        *(word if word[0].isspace() else f" {word}" for word in words),
        *([f" #{seed}"] if seed else []),
    ]


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came. body: None unless it is a JSON object."""

    method: str
    path: str
    headers: dict[str, str]
    body: JsonObject | None


@dataclass(frozen=True, slots=True)
class _Token:
    """A generated token; finish: the reason, on the last one."""

    text: str
    number: int
    special: bool = False
    finish: str | None = None

    def wire(self) -> JsonObject:
        return {"id": 100 + self.number, "text": self.text, "logprob": -0.125 * self.number, "special": self.special}

    def tops(self, count: int) -> list[Json]:
        other: list[Json] = [
            {"id": rank, "text": f"~{rank}", "logprob": -0.125 * self.number - rank, "special": False}
            for rank in range(1, count)
        ]
        return [self.wire(), *other] if count else []


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
    _tool: tuple[str, str] | None = None
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
        self._tool = name, arguments

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
                whole = self._generated(read_native(body, self.limits))
                return web.json_response(
                    [whole] if request.path == "/" else whole, headers={"x-compute-type": "gpu+optimized"}
                )
            return await self._stream(request, lambda: self._native_events(body), done=False)

        return await self._serve(request, answer)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        async def answer(body: JsonObject) -> web.StreamResponse:
            if body.get("stream"):
                try:
                    read_chat(body, self.limits)
                except Refused as refused:
                    if refused.kind != "validation":
                        raise
                return await self._stream(request, lambda: self._chat_events(body), done=True)
            return web.json_response(self._chat_whole(body))

        return await self._serve(request, answer)

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        async def answer(body: JsonObject) -> web.StreamResponse:
            if body.get("stream"):
                try:
                    read_completion(body, self.limits)
                except Refused as refused:
                    if refused.kind != "validation":
                        raise
                return await self._stream(request, lambda: self._completion_events(body), done=True)
            return web.json_response(self._completion_whole(body))

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
                await self._fail_whole()
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

    async def _fail_whole(self) -> None:
        if self._failure in _FAILURES:
            raise _FAILURES[self._failure]
        if self._failure == "bad_gateway":
            raise web.HTTPBadGateway(text="<html>502</html>", content_type="text/html")
        if self._failure == "hang":
            await asyncio.Event().wait()
        if self.running > self.limits.max_concurrent_requests:
            raise _FAILURES["overloaded"]

    async def _stream(
        self, request: web.Request, events: Callable[[], AsyncIterator[Json]], *, done: bool
    ) -> web.StreamResponse:
        """Events after a 200; whatever goes wrong from here on is an event too."""
        if self._failure == "bad_gateway":
            raise web.HTTPBadGateway(text="<html>502</html>", content_type="text/html")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        sent = 0
        try:
            if self.running > self.limits.max_concurrent_requests:
                raise _FAILURES["overloaded"]
            async for event in self._replayed() if self._recorded else events():
                if self._failure and sent >= self._after and await self._fail_stream(request, response):
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

    async def _fail_stream(self, request: web.Request, response: web.StreamResponse) -> bool:
        """Fail as told; returns whether the answer is over."""
        match self._failure:
            case "overloaded" | "generation" | "incomplete" as failure:
                raise _FAILURES[failure]
            case "cut":
                if request.transport is not None:
                    request.transport.close()
                return True
            case "hang":
                await asyncio.Event().wait()
            case "unfinished":
                await response.write_eof()
                return True
            case "garbage":
                await response.write(b"data: <html>\n\n")
            case _:
                pass
        return False

    async def _replayed(self) -> AsyncIterator[Json]:
        recording = self._recorded.popleft()
        for chunk in recording if isinstance(recording, list) else [recording]:
            yield chunk

    # ------------------------------------------------------------------- generating

    def _tokens(self, request: Generate) -> list[_Token]:
        """The script's tokens until one of TGI's three ends: the limit, looked at first, the end token, a stop sequence."""
        tokens: list[_Token] = []
        text = ""
        for number, word in enumerate([*self.script(request.inputs, request.seed), None], start=1):
            text += word or ""
            reason = "eos_token" if word is None else None
            if any(text.endswith(stop) for stop in request.stop):
                reason = reason or "stop_sequence"
            if number == request.max_new_tokens:
                reason = "length"
            tokens.append(_Token(word or "</s>", number, special=word is None, finish=reason))
            if reason:
                break
        return tokens

    def _generated(self, request: Generate) -> JsonObject:
        tokens = self._tokens(request)
        text = "".join(token.text for token in tokens if not token.special)
        whole: JsonObject = {"generated_text": request.inputs + text if request.return_full_text else text}
        if request.details or request.decoder_input_details:
            whole["details"] = self._details(request, tokens)
        return whole

    def _details(self, request: Generate, tokens: list[_Token]) -> JsonObject:
        words = ["<s>", *re.findall(r"\s*\S+", request.inputs)]
        prefill: list[Json] = [
            {"id": number, "text": word, "logprob": -0.5 * number if number else None}
            for number, word in enumerate(words)
        ]
        details: JsonObject = {
            "finish_reason": tokens[-1].finish,
            "generated_tokens": len(tokens),
            "seed": request.seed,
            "prefill": prefill if request.decoder_input_details else [],
            "tokens": [token.wire() for token in tokens],
        }
        if request.top_n_tokens:
            details["top_tokens"] = [token.tops(request.top_n_tokens) for token in tokens]
        if request.best_of > 1:
            other: JsonObject = {"generated_text": "".join(token.text for token in tokens), **details}
            details = details | {"best_of_sequences": [other] * (request.best_of - 1)}
        return details

    async def _native_events(self, body: JsonObject) -> AsyncIterator[Json]:
        request = read_native(body, self.limits)
        if request.best_of != 1:
            raise Refused(
                422, "Input validation error: `best_of` != 1 is not supported when streaming tokens", "validation"
            )
        if request.decoder_input_details:
            words = "`decoder_input_details` == true is not supported when streaming tokens"
            raise Refused(422, f"Input validation error: {words}", "validation")
        tokens = self._tokens(request)
        for token in tokens:
            event: JsonObject = {"index": token.number, "token": token.wire(), "generated_text": None, "details": None}
            if request.top_n_tokens:
                event["top_tokens"] = token.tops(request.top_n_tokens)
            if token.finish:
                text = "".join(token.text for token in tokens if not token.special)
                event["generated_text"] = request.inputs + text if request.return_full_text else text
            if token.finish and request.details:
                event["details"] = _stream_details(request, token)
            yield event

    # ------------------------------------------------------------------- OpenAI's routes

    def _chat_whole(self, body: JsonObject) -> JsonObject:
        request = read_chat(body, self.limits)
        tokens = self._tokens(request)
        message: JsonObject = {
            "role": "assistant",
            "content": "".join(token.text for token in tokens if not token.special),
        }
        if self._tool and _uses_tools(body):
            name, arguments = self._tool
            function: JsonObject = {"name": name, "description": None, "arguments": arguments}
            message = {"role": "assistant", "tool_calls": [{"id": "0", "type": "function", "function": function}]}
        choice: JsonObject = {
            "index": 0,
            "message": message,
            "logprobs": _logprobs(tokens, request.top_n_tokens) if body.get("logprobs") else None,
            "finish_reason": _openai_reason(tokens[-1].finish),
        }
        return _envelope("chat.completion", body, [choice]) | {"usage": _usage(request, len(tokens))}

    async def _chat_events(self, body: JsonObject) -> AsyncIterator[Json]:
        """With a tool call: no chunk says how it ended, because the end token comes after the call is whole."""
        request = read_chat(body, self.limits)
        if self._tool and _uses_tools(body):
            name, arguments = self._tool
            pieces = ["{", *re.findall(r"\W+|\w+", arguments.removeprefix("{"))]
            tokens = [_Token(piece, number) for number, piece in enumerate(pieces, start=1)]
            if request.max_new_tokens and request.max_new_tokens < len(tokens):
                tokens = tokens[: request.max_new_tokens]
                tokens[-1] = _Token(tokens[-1].text, len(tokens), finish="length")
            deltas = [_tool_delta(name if token.number == 1 else None, token.text) for token in tokens]
        else:
            tokens = self._tokens(request)
            deltas = [{"role": "assistant", "content": "" if token.special else token.text} for token in tokens]
        for token, delta in zip(tokens, deltas, strict=True):
            choice: JsonObject = {
                "index": 0,
                "delta": delta,
                "logprobs": _logprobs([token], request.top_n_tokens) if body.get("logprobs") else None,
                "finish_reason": _openai_reason(token.finish) if token.finish else None,
            }
            yield _envelope("chat.completion.chunk", body, [choice]) | {"usage": None}
        options = body.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            yield _envelope("chat.completion.chunk", body, []) | {"usage": _usage(request, len(tokens))}

    def _completion_whole(self, body: JsonObject) -> JsonObject:
        requests = read_completion(body, self.limits)
        generated = [self._tokens(request) for request in requests]
        choices: list[Json] = [
            {
                "index": number,
                "text": "".join(token.text for token in tokens if not token.special),
                "logprobs": None,
                "finish_reason": _openai_reason(tokens[-1].finish),
            }
            for number, tokens in enumerate(generated)
        ]
        counted = sum(len(request.inputs.split()) for request in requests), sum(len(tokens) for tokens in generated)
        usage: JsonObject = {"prompt_tokens": counted[0], "completion_tokens": counted[1], "total_tokens": sum(counted)}
        return _envelope("text_completion", {}, choices) | {"usage": usage}

    async def _completion_events(self, body: JsonObject) -> AsyncIterator[Json]:
        requests = read_completion(body, self.limits)
        for number, request in enumerate(requests):
            for token in self._tokens(request):
                choice: JsonObject = {
                    "index": number,
                    "text": token.text,
                    "logprobs": None,
                    "finish_reason": token.finish or "",
                }
                last: JsonObject = {"usage": _usage(request, token.number)} if token.finish else {}
                yield _envelope("text_completion", {}, [choice]) | last


def _wants_stream(path: str, body: JsonObject) -> bool:
    return path == "/generate_stream" or (
        path in ("/", "/v1/chat/completions", "/v1/completions") and bool(body.get("stream"))
    )


def _uses_tools(body: JsonObject) -> bool:
    return bool(body.get("tools")) and body.get("tool_choice") != "none"


def _openai_reason(reason: str | None) -> str | None:
    return "stop" if reason == "eos_token" else reason


def _envelope(kind: str, body: JsonObject, choices: list[Json]) -> JsonObject:
    model = body.get("model")
    return {
        "object": kind,
        "id": "",
        "created": int(time.time()),
        "model": MODEL if model in (None, "tgi") else model,
        "system_fingerprint": FINGERPRINT,
        "choices": choices,
    }


def _usage(request: Generate, generated: int) -> JsonObject:
    prompt = len(request.inputs.split())
    return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}


def _stream_details(request: Generate, last: _Token) -> JsonObject:
    return {
        "finish_reason": last.finish,
        "generated_tokens": last.number,
        "seed": request.seed,
        "input_length": len(request.inputs.split()),
    }


def _tool_delta(name: str | None, arguments: str) -> JsonObject:
    function: JsonObject = {"name": name, "arguments": arguments}
    return {"role": "assistant", "tool_calls": [{"index": 0, "id": "0", "type": "function", "function": function}]}


def _logprobs(tokens: list[_Token], count: int) -> JsonObject:
    content: list[Json] = [
        {
            "token": token.text,
            "logprob": token.wire()["logprob"],
            "top_logprobs": [
                {"token": top["text"], "logprob": top["logprob"]} for top in token.tops(count) if isinstance(top, dict)
            ],
        }
        for token in tokens
    ]
    return {"content": content}
