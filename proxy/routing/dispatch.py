"""One request's life behind the contracts: resolve, make ready, run or relay, account."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from backends.base import Relay, RelayOutcome, RelayRequest, Sink, Tokenizing
from backends.errors import Unsupported
from backends.types import Chat, Complete, Event, Request, Task, Tokenized, Usage
from proxy.errors import ApiError, ErrorCode
from proxy.lifecycle.engines import Engines
from proxy.lifecycle.manager import LifecycleManager
from proxy.observability.call import Call
from proxy.registry.models import ModelEntry, Registry
from proxy.routing.router import Router
from proxy.routing.traffic import Traffic

UNLISTED = "(unlisted)"


class Dispatcher:
    """Brings requests to backends. The slot of a request lives exactly as long as its stream."""

    def __init__(self, router: Router, engines: Engines, lifecycle: LifecycleManager, traffic: Traffic) -> None:
        self.router = router
        self._engines = engines
        self._lifecycle = lifecycle
        self._traffic = traffic

    def serve_from(self, registry: Registry) -> None:
        """Models have come or gone: requests from now on find those of this registry."""
        self.router = Router(registry)

    def resolve(self, name: str | None, task: Task, call: Call) -> ModelEntry:
        """The model to serve this call, noted in the call. Raises ApiError (unknown, wrong task, shutting down)."""
        return self._noted(lambda: self.router.resolve(name, task), call)

    def resolve_any(self, name: str | None, task: Task, call: Call) -> ModelEntry:
        """As resolve; a hub id that nobody configured is a model, too, of this process's engine for the task."""
        return self._noted(lambda: self.router.any(name, task), call)

    def resolve_pipeline(self, task: str, name: str | None, call: Call) -> ModelEntry:
        """What serves a Hugging Face task (no alias) on a model, which may be any of the hub. Raises as resolve does."""
        return self._noted(lambda: self.router.pipeline(task, name), call)

    def _noted(self, find: Callable[[], ModelEntry], call: Call) -> ModelEntry:
        if self._traffic.draining:
            raise ApiError(ErrorCode.UNAVAILABLE, "The server is shutting down; try again.", retry_after=1)
        entry = find()
        # Names that nobody configured are noted once they have proved to be models: metrics have a series for each.
        known = self.router.lists(entry.name) or self._lifecycle.is_ready(entry)
        call.model, call.engine = entry.name if known else UNLISTED, entry.engine
        return entry

    def relay_for(self, entry: ModelEntry, method: str, path: str) -> Relay | None:
        """The engine to pass this request on to as it is, or None where its dialect differs."""
        relay = self._engines.relay(entry.engine)
        return relay if relay is not None and relay.relays(method, path) else None

    async def relay(self, relay: Relay, request: RelayRequest, sink: Sink, call: Call) -> None:
        """Pass bytes through. Raises BackendError only before the first byte went out."""
        call.relayed = RelayOutcome()
        self._traffic.enter(call.model, call.engine)
        try:
            await relay.relay(request, sink, call.relayed)
        finally:
            self._traffic.leave(call.model, call.engine)

    async def run(self, entry: ModelEntry, request: Request, call: Call) -> AsyncGenerator[Event, None]:
        """Serve a request as events; closing the stream stops the work. Raises BackendError."""
        model = call.model or entry.name
        self._traffic.enter(model, entry.engine)
        try:
            async with (
                self._lifecycle.use(entry),
                aclosing(self._engines[entry.engine].run(entry.spec, request)) as events,
            ):
                async for event in events:
                    if isinstance(event, Usage):
                        call.prompt_tokens = event.prompt_tokens
                        call.completion_tokens = event.completion_tokens
                    yield event
        finally:
            self._traffic.leave(model, entry.engine)

    async def tokenize(self, entry: ModelEntry, request: Chat | Complete, call: Call) -> Tokenized:
        """How the model reads the first prompt, or the conversation. Raises BackendError (Unsupported: its engine cannot tell)."""
        self._traffic.enter(call.model or entry.name, entry.engine)
        try:
            async with self._lifecycle.use(entry):
                backend = self._engines[entry.engine]
                if not isinstance(backend, Tokenizing):
                    raise Unsupported(f"The engine behind `{entry.name}` does not show its tokens.", param="model")
                return await backend.tokenize(entry.spec, request)
        finally:
            self._traffic.leave(call.model or entry.name, entry.engine)
