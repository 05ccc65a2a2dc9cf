"""A backend whose engine speaks OpenAI's dialect: relayed as bytes, or served as events over the same connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

import orjson

from backends.base import EngineSpec, Health, ModelSpec, Pulse, RelayOutcome, RelayRequest, Report, Sink
from backends.errors import BackendError, Broken, TimedOut, Unsupported
from backends.remote.client import RemoteClient, Response
from backends.remote.exchange import FINISHED_FOR
from backends.remote.heads import ProtocolError
from backends.remote.openai_dialect import ChunkDecoder, encode_chat, encode_complete
from backends.remote.relay import relay
from backends.remote.sse import SseParser
from backends.types import Chat, Complete, Event, Finish, Json, JsonObject, Request

OPENAI_ROUTES = frozenset(
    {
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/audio/transcriptions"),
        ("POST", "/v1/audio/translations"),
    }
)

_JSON = (("Content-Type", "application/json"),)
_HEALTH_WITHIN = 15.0  # seconds; a busy engine may take several to list its models
_MAX_MODELS = 4 * 1024 * 1024


class OpenAIBackend:
    """What all OpenAI-speaking engines share; subclasses name the routes that their engine has."""

    routes = OPENAI_ROUTES
    lists_all = False

    def __init__(self, spec: EngineSpec) -> None:
        self._name = spec.name
        self._client = RemoteClient(spec)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._client!r}>"

    async def load(self, model: ModelSpec, report: Report) -> None:
        """Return at once: a remote engine loads its own models."""

    async def unload(self, model: ModelSpec) -> None:
        """Return at once: what a remote engine holds is its own."""

    async def health(self) -> Health:
        """Whether the engine lists its models within 15 s."""
        try:
            await self.models()
        except BackendError as error:
            return Health(ok=False, reason=error.message)
        return Health(ok=True)

    async def models(self) -> frozenset[str]:
        """The ids at /v1/models. Raises BackendError: no answer within 15 s, or no list in it."""
        limits = self._client.timeouts
        soon = replace(limits, first_byte=min(limits.first_byte, _HEALTH_WITHIN))
        async with self._client.request("GET", "/v1/models", timeouts=soon) as response:
            listed = _loads(await response.read(_MAX_MODELS))
        cards = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(cards, list):
            raise Broken(f"Engine {self._name!r} does not answer /v1/models with a list of models.")
        return frozenset(str(card["id"]) for card in cards if isinstance(card, dict) and "id" in card)

    def pulse(self, now: float) -> Pulse:
        """How the engine is getting on with its work."""
        return self._client.pulse(now)

    def on_drop(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever the engine closes a connection by itself."""
        self._client.on_drop(tell)

    def cut(self, error: BackendError) -> None:
        """End every request in flight with `error`."""
        self._client.cut(error)

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """Serve a Chat or Complete as events, streamed. Raises Unsupported for any other request."""
        decoder: ChunkDecoder
        if isinstance(request, Chat):
            path, body = "/v1/chat/completions", encode_chat(request, model.source, stream=True)
            decoder = ChunkDecoder("chat")
        elif isinstance(request, Complete):
            path, body = "/v1/completions", self.completion(request, model)
            decoder = ChunkDecoder("completion")
        else:
            raise Unsupported(f"Engine {self._name!r} serves chat and completions only.")
        unfinished = request.sampling.n * (len(request.prompts) if isinstance(request, Complete) else 1)
        async with self._client.request("POST", path, orjson.dumps(body), _JSON) as response:
            try:
                async for chunk in self._chunks(response):
                    for event in decoder.feed(chunk):
                        unfinished -= isinstance(event, Finish)
                        yield event
                    if not unfinished:
                        response.allow(FINISHED_FOR)
            except TimedOut:
                # All was said; some engines forget the last word.
                if unfinished:
                    raise

    def completion(self, request: Complete, model: ModelSpec) -> JsonObject:
        """The body that asks for a completion; engines with more to say than OpenAI's dialect has add to it."""
        return encode_complete(request, model.source, stream=True)

    def relays(self, method: str, path: str) -> bool:
        """Whether (method, path) is on this engine's allowlist."""
        return (method, path) in self.routes

    async def relay(self, request: RelayRequest, sink: Sink, outcome: RelayOutcome) -> None:
        """Forward request and answer as bytes; see backends.remote.relay."""
        await relay(self._client, request, sink, outcome)

    async def ask(self, path: str, body: JsonObject, limit: int) -> JsonObject:
        """The engine's answer to a JSON body, of at most `limit` bytes. Raises Broken for what is no object, and Rejected."""
        async with self._client.request("POST", path, orjson.dumps(body), _JSON) as response:
            answer = _loads(await response.read(limit))
        if not isinstance(answer, dict):
            raise Broken(f"Engine {self._name!r} answered {path} with something that is not a JSON object.")
        return answer

    async def close(self) -> None:
        """Close all connections to the engine."""
        await self._client.close()

    async def _chunks(self, response: Response) -> AsyncGenerator[JsonObject, None]:
        """The JSON objects of a stream up to [DONE]. Raises Broken when the stream ends without it, or holds anything else."""
        parser = SseParser()
        async for data in response.body:
            try:
                events = parser.feed(data)
            except ProtocolError as error:
                raise Broken(f"Engine {self._name!r} answered with {error}.") from None
            for event in events:
                if event.data == b"[DONE]":
                    return
                chunk = _loads(event.data)
                if not isinstance(chunk, dict):
                    raise Broken(f"Engine {self._name!r} sent an event that is not a JSON object.")
                yield chunk
        raise Broken(f"Engine {self._name!r} ended the stream early; retry, and see its log if that goes on.")


def _loads(data: bytes) -> Json:
    """Parsed JSON; None for anything else."""
    try:
        parsed: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return parsed
