"""A request waits here until its engine, or its model, has a slot for it: `queue` decides, this awaits.

A slot lives exactly as long as its stream. Without contention nothing is awaited.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType

from proxy.observability.call import Call
from proxy.observability.metrics import Metrics
from proxy.registry.models import ModelEntry, Registry
from proxy.routing.lines import Lines, Rules
from proxy.routing.queue import NO_LIMIT, Line, Pool, Queue
from proxy.routing.refusal import refusal
from proxy.routing.tickets import State, Ticket

LOOK_SECONDS = 1.0
"""How often replicas are counted anew while anyone waits."""


class Admission:
    """Owner of the queue. usable: how many replicas of an engine take requests now; clock: seconds."""

    def __init__(
        self, rules: Rules, metrics: Metrics, usable: Callable[[str], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience = rules.patience
        self._metrics = metrics
        self._clock = clock
        self._lines = Lines(rules, usable)
        self._queue = Queue(patience=rules.patience, max_bytes=rules.max_bytes)
        self._waiting: Counter[tuple[str, str]] = Counter()
        self._looking: asyncio.TimerHandle | None = None
        by_model = ("model", "engine")
        metrics.watch_all("switchboard_waiting", "Requests waiting for a slot.", by_model, self._waiting.items)
        metrics.watch_all("switchboard_slots", "Requests that an engine may serve at once.", ("engine",), self._slots)

    def admit(self, entry: ModelEntry, call: Call) -> Slot:
        """A slot for a model's request, after waiting if need be: `async with admission.admit(entry, call):`.

        Waiting raises ApiError with `retry_after`: OVERLOADED when this caller has too many requests, UNAVAILABLE when all have.
        """
        return Slot(self, self._lines.of(entry), call)

    def serve_from(self, registry: Registry) -> None:
        """Engines, models and their limits are those of this registry from now on. Whoever waits goes on waiting."""
        self._lines.serve_from(registry)
        self._fill()

    def _fill(self) -> None:
        """Start whoever may start, after limits or replicas have changed."""
        now = self._clock()
        for pool in self._lines.pools:
            self._lines.measure(pool)
            self._queue.fill(pool, now)

    def _slots(self) -> Iterable[tuple[tuple[str, ...], float]]:
        return (((pool.name,), pool.limit) for pool in self._lines.pools if pool.limit < NO_LIMIT)

    # ------------------------------------------------------------------ for Slot

    def enter(self, line: Line, call: Call) -> Ticket:
        """The ticket of a request that has just come."""
        for pool in line.pools:
            # As long as one replica alone could serve all, it does not matter how many there are.
            if pool.in_flight >= pool.each:
                self._lines.measure(pool)
        return self._queue.arrive(line, call.caller, call.size, self._clock())

    def leave(self, ticket: Ticket) -> None:
        """Its request is over."""
        self._queue.end(ticket, self._clock())

    def move(self, ticket: Ticket, pool: Pool) -> None:
        """Its request is served by another engine than was thought."""
        self._queue.move(ticket, pool, self._clock())

    async def started(self, ticket: Ticket, call: Call) -> None:
        """Return when a ticket that waits has started. Raises ApiError when it was sent away."""
        if ticket.state is State.WAITING:
            await self._changed(ticket, call)
            call.queued = self._clock() - ticket.arrived
        if ticket.reason is not None:
            self._metrics.shed(call, ticket.reason)
            raise refusal(ticket, call.model, self._patience)
        self._metrics.waited(call)

    async def _changed(self, ticket: Ticket, call: Call) -> None:
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        ticket.changed = changed.set
        late = loop.call_later(self._patience, self._queue.give_up, ticket)
        if self._looking is None:
            self._looking = loop.call_later(LOOK_SECONDS, self._look)
        label = call.model, call.engine
        self._waiting[label] += 1
        try:
            await changed.wait()
        finally:
            late.cancel()
            self._waiting[label] -= 1

    def _look(self) -> None:
        """A replica may have come back: nobody need tell."""
        self._looking = None
        if self._queue.waiting:
            self._fill()
            self._looking = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)


class Slot:
    """A slot, or a place among those who wait for one; where nothing is limited, nothing. Whoever has it leaves it in the end."""

    __slots__ = ("_admission", "_call", "_ticket")

    def __init__(self, admission: Admission, line: Line | None, call: Call) -> None:
        self._admission = admission
        self._call = call
        self._ticket = None if line is None else admission.enter(line, call)

    @property
    def waits(self) -> bool:
        """Whether there is something to wait for, if only the news that it was sent away: `await started()`."""
        return self._ticket is not None and self._ticket.state is not State.STARTED

    async def started(self) -> None:
        """Return when the slot is there. Raises ApiError as Admission.admit says."""
        if self._ticket is not None:
            await self._admission.started(self._ticket, self._call)

    def leave(self) -> None:
        """The request is over."""
        if self._ticket is not None:
            self._admission.leave(self._ticket)

    async def __aenter__(self) -> Slot:
        try:
            if self.waits:
                await self.started()
        except BaseException:
            self.leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.leave()

    def allows(self, engine: str) -> bool:
        """Whether this engine of the model may serve the request: its slot is there, or there is room."""
        ticket = self._ticket
        if ticket is None or ticket.pool is None or ticket.pool.name == engine:
            return True
        return any(pool.name == engine and pool.room for pool in ticket.line.pools)

    def goes_to(self, engine: str) -> None:
        """This engine serves the request: the slot is one of its own from now on."""
        ticket = self._ticket
        if ticket is None or ticket.pool is None or ticket.pool.name == engine:
            return
        for pool in ticket.line.pools:
            if pool.name == engine:
                self._admission.move(ticket, pool)
