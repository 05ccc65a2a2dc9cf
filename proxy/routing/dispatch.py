"""One request's life behind the contracts: resolve, make ready, run or relay, account."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import replace

from backends.base import RelayOutcome, RelayRequest, Sink, Tokenizing
from backends.errors import BackendError, Unsupported
from backends.types import Chat, Complete, Event, JsonObject, Request, Task, Tokenized, Usage
from proxy.errors import ApiError, ErrorCode
from proxy.lifecycle.engines import Engines
from proxy.lifecycle.manager import LifecycleManager
from proxy.observability.call import Call
from proxy.observability.metrics import Metrics
from proxy.registry.models import ModelEntry, Registry, Target, at
from proxy.routing.admission import Admission, Slot
from proxy.routing.attempts import Attempts
from proxy.routing.fallbacks import Elsewhere, gives_way, step_in
from proxy.routing.fleet import Choice, Fleet, drained
from proxy.routing.lines import Rules
from proxy.routing.router import Router
from proxy.routing.selection import Wanted
from proxy.routing.traffic import Traffic
from proxy.routing.waking import Waking
from proxy.routing.watchdog import Watchdog

UNLISTED = "(unlisted)"


class Dispatcher:
    """Brings requests to backends. The slot of a request lives exactly as long as its stream."""

    def __init__(
        self,
        router: Router,
        engines: Engines,
        lifecycle: LifecycleManager,
        traffic: Traffic,
        metrics: Metrics,
        rules: Rules,
    ) -> None:
        self.router = router
        self._engines = engines
        self._lifecycle = lifecycle
        self._traffic = traffic
        self.fleet = Fleet(engines, router.registry)
        self.watchdog = Watchdog(self.fleet)
        self._waking = Waking(lifecycle)
        self.attempts = Attempts(self.watchdog, self._waking)
        lifecycle.tell_starts(self.fleet.renew)
        lifecycle.serve_from(router.registry)
        self._admission = Admission(rules, metrics, self.fleet.usable)
        self._admission.serve_from(router.registry)

    async def close(self) -> None:
        """Close what only waited for its last request."""
        await self.watchdog.close()
        await self.fleet.close()

    def serve_from(self, registry: Registry) -> None:
        """Models or engines have come or gone: requests from now on find those of this registry."""
        self.router = Router(registry)
        self.fleet.serve_from(registry)
        self._lifecycle.serve_from(registry)
        self._admission.serve_from(registry)

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

    def cold(self, entry: ModelEntry) -> bool:
        """Whether a request would have to wait for the model, or an engine of it, to load."""
        return self._waking.cold(entry)

    def percent(self, entry: ModelEntry) -> int | None:
        """How far that is; None where it is not known."""
        return self._waking.percent(entry)

    def relays(self, entry: ModelEntry, method: str, path: str, *, everywhere: bool = True) -> bool:
        """Whether a request can be passed on as it is, whichever of the model's engines gets it; or some of them, at least."""
        able = self.fleet.plan(entry).relayed(method, path)
        return bool(able) and (all(able) if everywhere else any(able))

    def relay(
        self,
        entry: ModelEntry,
        ask: Callable[[Target], RelayRequest],
        sink: Sink,
        call: Call,
        prompt: JsonObject | None = None,
    ) -> Coroutine[None, None, None]:
        """Pass bytes through. Raises BackendError only before the first byte went out; Elsewhere where another model steps in.

        ask: the request as an engine is to see it; prompt: its parsed body, by which replicas are chosen.
        """
        relay = self._relay_or_step_in if entry.fallbacks else self._relay
        return relay(entry, ask, sink, call, prompt)

    async def _relay_or_step_in(
        self,
        entry: ModelEntry,
        ask: Callable[[Target], RelayRequest],
        sink: Sink,
        call: Call,
        prompt: JsonObject | None,
    ) -> None:
        ways = self.router.ways(entry)
        while True:
            try:
                return await self._relay(ways[0], ask, sink, call, prompt)
            except (BackendError, ApiError) as failure:
                del ways[0]
                if not ways or not gives_way(failure, safe=call.safe):
                    raise
                step_in(ways[0], call)
                if not self.relays(ways[0], call.method, call.path):
                    others = tuple(each.name for each in ways[1:])
                    raise Elsewhere(replace(ways[0], fallbacks=others), failure) from failure

    async def _relay(
        self,
        entry: ModelEntry,
        ask: Callable[[Target], RelayRequest],
        sink: Sink,
        call: Call,
        prompt: JsonObject | None,
    ) -> None:
        call.relayed = outcome = RelayOutcome()
        model, engine = call.model, call.engine
        wanted = Wanted(prompt, call.session)
        self._traffic.enter(model, engine)
        slot = self._admission.admit(entry, call)
        try:
            if slot.waits:
                await slot.started()
            entry = self._current(entry)
            choices = self._open(entry, slot)
            if not self.fleet.plan(entry).on_demand:
                return await self.attempts.relay(
                    entry, choices, ask, sink, outcome, slot.goes_to, wanted, safe=call.safe
                )
            async with self._waking.among(entry, choices, patient=call.patient) as awake:
                await self.attempts.relay(entry, awake, ask, sink, outcome, slot.goes_to, wanted, safe=call.safe)
        finally:
            slot.leave()
            self._traffic.leave(model, engine)
            _note(wanted, call)

    def run(self, entry: ModelEntry, request: Request, call: Call) -> AsyncGenerator[Event, None]:
        """Serve a request as events; closing the stream stops the work. Raises BackendError."""
        return self._run_or_step_in(entry, request, call) if entry.fallbacks else self._run(entry, request, call)

    async def _run_or_step_in(self, entry: ModelEntry, request: Request, call: Call) -> AsyncGenerator[Event, None]:
        """The model's answer, or that of the first that can serve of those that step in for it."""
        ways = self.router.ways(entry)
        begun = False
        while True:
            try:
                async with aclosing(self._run(ways[0], request, call)) as events:
                    async for event in events:
                        begun = True
                        yield event
                return
            except (BackendError, ApiError) as failure:
                del ways[0]
                if begun or not ways or not gives_way(failure, safe=call.safe):
                    raise
                step_in(ways[0], call)

    async def _run(self, entry: ModelEntry, request: Request, call: Call) -> AsyncGenerator[Event, None]:
        model, engine = call.model or entry.name, entry.engine
        wanted = Wanted(request, call.session)
        self._traffic.enter(model, engine)
        try:
            async with (
                self._admission.admit(entry, call) as slot,
                self._using(entry := self._current(entry), patient=call.patient),
                aclosing(self._events(entry, request, slot, wanted, call)) as events,
            ):
                async for event in events:
                    if isinstance(event, Usage):
                        call.prompt_tokens = event.prompt_tokens
                        call.completion_tokens = event.completion_tokens
                    yield event
        finally:
            self._traffic.leave(model, engine)
            _note(wanted, call)

    async def tokenize(self, entry: ModelEntry, request: Chat | Complete, call: Call) -> Tokenized:
        """How the model reads the first prompt, or the conversation. Raises BackendError (Unsupported: its engine cannot tell)."""
        entry = self._current(entry)
        self._traffic.enter(call.model or entry.name, entry.engine)
        try:
            async with self._using(entry):
                if self._engines.remote(entry.engine):
                    async with self._waking.among(entry, self._open(entry)) as choices:
                        return await self.attempts.tokenize(entry, choices, request)
                backend = self._engines[entry.engine]
                if not isinstance(backend, Tokenizing):
                    raise Unsupported(f"The engine behind `{entry.name}` does not show its tokens.", param="model")
                return await backend.tokenize(entry.spec, request)
        finally:
            self._traffic.leave(call.model or entry.name, entry.engine)

    def _events(
        self, entry: ModelEntry, request: Request, slot: Slot, wanted: Wanted, call: Call
    ) -> AsyncGenerator[Event, None]:
        """The answer of the pipeline in this process, or of a replica."""
        if not self._engines.remote(entry.engine):
            return self._engines[entry.engine].run(entry.spec, request)
        return self._remote_events(entry, request, slot, wanted, call)

    async def _remote_events(
        self, entry: ModelEntry, request: Request, slot: Slot, wanted: Wanted, call: Call
    ) -> AsyncGenerator[Event, None]:
        async with self._waking.among(entry, self._open(entry, slot), patient=call.patient) as choices:
            events = self.attempts.events(entry, choices, request, slot.goes_to, wanted, safe=call.safe)
            async with aclosing(events):
                async for event in events:
                    yield event

    def _using(self, entry: ModelEntry, *, patient: bool = False) -> AbstractAsyncContextManager[object]:
        """The model is ready to run. Of several engines that come and go, the one that runs is found later."""
        if entry.targets and any(self._lifecycle.on_demand(at(entry, target)) for target in entry.targets):
            return nullcontext()
        return self._lifecycle.use(entry, patient=patient)

    def _current(self, entry: ModelEntry) -> ModelEntry:
        """The model as it is served by now: its engine may have left since it was looked up.

        Raises as resolve does, or Unavailable when it is drained.
        """
        if entry.engine not in self.router.registry.engines:
            entry = self.router.resolve(entry.name, entry.task)
        if self.fleet.drained and self.fleet.drained.issuperset(engines_of(entry)):
            raise drained(entry)
        return entry

    def _open(self, entry: ModelEntry, slot: Slot | None = None) -> list[Choice]:
        """The replicas that may get the request, on engines with room if its model has several. Raises Unavailable."""
        candidates = [choice for choice in self.fleet.candidates(entry) if not choice.replica.draining]
        if not candidates:
            raise drained(entry)
        if slot is not None and entry.targets:
            return [choice for choice in candidates if slot.allows(choice.target.engine)] or candidates
        return candidates


def engines_of(entry: ModelEntry) -> tuple[str, ...]:
    """The names of the engines that serve a model."""
    return tuple(target.engine for target in entry.targets) or (entry.engine,)


def _note(wanted: Wanted, call: Call) -> None:
    """Its request is over: who served it."""
    wanted.begun()
    if wanted.chosen is not None:
        call.engine, call.replica = wanted.chosen.engine, wanted.chosen.name
