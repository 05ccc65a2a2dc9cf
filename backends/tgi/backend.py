"""A TGI server behind the four verbs of a backend."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from backends.base import EngineSpec, Gauges, Health, ModelSpec, Pulse, Report
from backends.errors import BackendError, Broken, Rejected, TimedOut, Unsupported
from backends.remote.client import RemoteClient, Response
from backends.remote.heads import ProtocolError
from backends.remote.prometheus import metrics_text
from backends.remote.sse import SseParser
from backends.tgi.chat import encode_chat
from backends.tgi.errors import status_error
from backends.tgi.fanout import merged
from backends.tgi.gauges import read_gauges
from backends.tgi.plan import Generation, best, chooses_best, counted, generations
from backends.tgi.tokens import prompt_body, read_tokens
from backends.types import Chat, Complete, Event, JsonObject, Request, Tokenized

_AT_ONCE: Final = 8  # generations of one request: more would fill TGI's 128 places for one caller
_MAX_ANSWER: Final = 64 * 1024 * 1024
_HEALTH_TIMEOUT: Final = 10.0  # seconds; TGI's /health may generate a token to find out
_DONE: Final = b"[DONE]"
_JSON: Final = (("Content-Type", "application/json"),)


class TgiBackend:
    """text-generation-inference 3.3 at spec.urls. Raises ValueError for a spec without one; does no I/O yet."""

    lists_all = False  # it serves its one model under any name

    def __init__(self, spec: EngineSpec) -> None:
        self._name = spec.name
        self._client = RemoteClient(spec)

    async def load(self, model: ModelSpec, report: Report) -> None:
        """Nothing to do: a TGI server loads its one model as it starts."""

    async def unload(self, model: ModelSpec) -> None:
        """Nothing to do: a TGI server keeps its one model until it ends."""

    async def health(self) -> Health:
        """Ask /health, and /info whether it is a TGI at all; never raises BackendError."""
        try:
            async with asyncio.timeout(_HEALTH_TIMEOUT):
                async with self._client.request("GET", "/health") as answer:
                    await answer.read(_MAX_ANSWER)
                info = await self._info()
        except Rejected as error:
            return Health(ok=False, reason=status_error(error, engine=self._name, inputs="prompt").message)
        except BackendError as error:
            return Health(ok=False, reason=error.message)
        except TimeoutError:
            return Health(
                ok=False, reason=f"Engine {self._name!r} did not answer /health within {_HEALTH_TIMEOUT:.0f} s."
            )
        if "max_total_tokens" not in info:
            return Health(ok=False, reason=f"Engine {self._name!r} is not a TGI server: check its `urls`.")
        return Health(ok=True)

    async def gauges(self) -> Gauges:
        """Its queue and its batch; both are told of once it had a first request."""
        return read_gauges(await metrics_text(self._client), self._name)

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """Serve a Chat or a Complete; closing the generator closes the engine's connections.

        Refusals are raised before any event, even those that TGI sends inside a stream. A failure later on raises
        Broken or TimedOut; nothing is ever sent twice. Raises Invalid and Unsupported for what TGI cannot do.
        """
        streams = [self._generate(generation) for generation in generations(request)]
        async with aclosing(merged(streams, _AT_ONCE) if len(streams) > 1 else streams[0]) as events:
            chosen = best(events, request) if isinstance(request, Complete) and chooses_best(request) else events
            async with aclosing(chosen), aclosing(counted(chosen)) as answer:
                async for event in answer:
                    yield event

    async def models(self) -> frozenset[str]:
        """The one model that /info names. Raises BackendError."""
        try:
            async with asyncio.timeout(_HEALTH_TIMEOUT):
                info = await self._info()
        except TimeoutError as error:
            message = f"Engine {self._name!r} did not answer /info within {_HEALTH_TIMEOUT:.0f} s."
            raise TimedOut(message, waited=_HEALTH_TIMEOUT) from error
        if not isinstance(info.get("model_id"), str):
            raise Broken(f"Engine {self._name!r} does not name its model: check its `urls`.")
        return frozenset({str(info["model_id"])})

    def pulse(self, now: float) -> Pulse:
        """How the engine is getting on with its work."""
        return self._client.pulse(now)

    def on_drop(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever the engine closes a connection by itself."""
        self._client.on_drop(tell)

    def cut(self, error: BackendError) -> None:
        """End every request in flight with `error`."""
        self._client.cut(error)

    async def tokenize(self, model: ModelSpec, request: Chat | Complete) -> Tokenized:
        """Ask TGI. Raises Unsupported for a prompt of token ids."""
        if isinstance(request, Chat):
            path, body, field = "/chat_tokenize", encode_chat(request, 0), "messages"
        else:
            path, body, field = "/tokenize", prompt_body(request), "prompt"
        try:
            async with self._client.request("POST", path, json.dumps(body).encode(), _JSON) as answer:
                said = json.loads(await answer.read(_MAX_ANSWER))
        except Rejected as error:
            if error.status == 404:
                raise Unsupported(f"Engine {self._name!r} has no tokenizer to show at {path}.") from error
            raise status_error(error, engine=self._name, inputs=field) from error
        except ValueError as error:
            raise Broken("The engine's answer is not JSON.") from error
        return read_tokens(said, str(body["inputs"]) if field == "prompt" else None)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _info(self) -> JsonObject:
        async with self._client.request("GET", "/info") as answer:
            return _json_object(await answer.read(_MAX_ANSWER))

    async def _generate(self, generation: Generation) -> AsyncGenerator[Event, None]:
        """One generation's events, under its number."""
        body = json.dumps(generation.body, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
        headers = (("Content-Type", "application/json"), ("Accept", "text/event-stream, application/json"))
        try:
            async with self._client.request("POST", generation.path, body, headers) as answer:
                if not _is_stream(answer):
                    whole = _json_object(await answer.read(_MAX_ANSWER))
                    for event in generation.numbered(generation.decoder.whole(whole)):
                        yield event
                    return
                async with aclosing(_chunks(answer, done=generation.done)) as chunks:
                    async for chunk in chunks:
                        for event in generation.numbered(generation.decoder.feed(chunk)):
                            yield event
                for event in generation.numbered(generation.decoder.end()):
                    yield event
        except Rejected as error:
            raise status_error(error, engine=self._name, inputs=generation.inputs) from error


async def _chunks(answer: Response, *, done: bool) -> AsyncGenerator[JsonObject, None]:
    """The JSON objects of a stream. done: it must say [DONE] at its end. Raises Broken for garbage and a missing end."""
    parser = SseParser()
    ended = not done
    async for data in answer.body:
        try:
            events = parser.feed(data)
        except ProtocolError as error:
            raise Broken("The engine's stream has an event without an end.") from error
        for event in events:
            if event.data.startswith(_DONE):
                ended = True
            else:
                yield _json_object(event.data)
    if not ended:
        raise Broken("The engine cut its answer short.")


def _json_object(data: bytes) -> JsonObject:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise Broken("The engine's answer is not JSON.") from error
    if not isinstance(value, dict):
        raise Broken("The engine's answer is not a JSON object.")
    return value


def _is_stream(answer: Response) -> bool:
    return any(name == "content-type" and value.startswith("text/event-stream") for name, value in answer.headers)
