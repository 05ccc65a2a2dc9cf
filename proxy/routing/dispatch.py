"""One request's life behind the contracts: resolve, make ready, run or relay, account."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from backends.base import Backend, Relay, RelayOutcome, RelayRequest, Sink
from backends.types import Event, Request, Task, Usage
from proxy.lifecycle.manager import LifecycleManager
from proxy.observability.call import Call
from proxy.observability.metrics import Metrics
from proxy.registry.models import ModelEntry
from proxy.routing.router import Router


class Dispatcher:
    """Brings requests to backends. The slot of a request lives exactly as long as its stream."""

    def __init__(
        self, router: Router, backends: Mapping[str, Backend], lifecycle: LifecycleManager, metrics: Metrics
    ) -> None:
        self.router = router
        self._backends = backends
        self._lifecycle = lifecycle
        self._metrics = metrics

    def resolve(self, name: str | None, task: Task, call: Call) -> ModelEntry:
        """The model to serve this call, noted in the call. Raises ApiError (unknown, wrong task)."""
        entry = self.router.resolve(name, task)
        call.model, call.engine = entry.name, entry.engine
        return entry

    def relay_for(self, entry: ModelEntry, method: str, path: str) -> Relay | None:
        """The engine to pass this request on to as it is, or None where its dialect differs."""
        backend = self._backends[entry.engine]
        return backend if isinstance(backend, Relay) and backend.relays(method, path) else None

    async def relay(self, relay: Relay, request: RelayRequest, sink: Sink, call: Call) -> None:
        """Pass bytes through. Raises BackendError only before the first byte went out."""
        call.relayed = RelayOutcome()
        with self._metrics.in_flight(call.model, call.engine):
            await relay.relay(request, sink, call.relayed)

    async def run(self, entry: ModelEntry, request: Request, call: Call) -> AsyncGenerator[Event, None]:
        """Serve a request as events; closing the stream stops the work. Raises BackendError."""
        with self._metrics.in_flight(entry.name, entry.engine):
            await self._lifecycle.ensure_ready(entry)
            async with aclosing(self._backends[entry.engine].run(entry.spec, request)) as events:
                async for event in events:
                    if isinstance(event, Usage):
                        call.prompt_tokens = event.prompt_tokens
                        call.completion_tokens = event.completion_tokens
                    yield event
