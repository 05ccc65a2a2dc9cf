"""The models that are in memory, on their way in or out, or waiting: what the scheduler decides is done here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

import structlog

from backends.errors import BackendError, Unavailable
from proxy.events.values import Event, Trouble, UnloadCompleted, UnloadReason, UnloadStarted
from proxy.lifecycle.fitting import Fitting
from proxy.lifecycle.launcher import Launcher
from proxy.lifecycle.loader import TYPES, Loader
from proxy.lifecycle.outcomes import error_code, failure
from proxy.lifecycle.places import Attempt, Place, way
from proxy.lifecycle.requirements import Need
from proxy.lifecycle.rules import Rules
from proxy.lifecycle.scheduler import RANKS, Key, Priority, Resident, plan
from proxy.lifecycle.seeking import Seekers
from proxy.lifecycle.states import State
from proxy.registry.models import ModelEntry

T = TypeVar("T")

RESTING: frozenset[UnloadReason] = frozenset({"idle", "evicted", "memory_pressure"})
"""Why an engine may sleep in place of being stopped: nobody said that it shall go."""
REMEMBERED = 1000
"""Models that are not loaded, of which state and figures are kept."""


class Floor:
    """Owner of the places. Everything but the loads themselves happens at once, on the event loop."""

    def __init__(
        self, rules: Rules, loader: Loader, fitting: Fitting, launcher: Launcher, publish: Callable[[Event], None]
    ) -> None:
        self._rules = rules
        self._loader = loader
        self._launcher = launcher
        self._seekers = Seekers(rules, fitting, self._holding, self._leave_for_others, self.step)
        self._publish = publish
        self._places: dict[Key, Place] = {}
        self._line: set[Place] = set()
        self._held: set[str] = set()
        self._tasks: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._log = structlog.get_logger("lifecycle")

    def place(self, entry: ModelEntry, *, remote: bool) -> Place:
        """The place of the model, made now if it has none."""
        key = self._launcher.key(entry)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = Place(key, entry, remote=remote)
            self._forget()
        place.terms = self._launcher.terms(entry)
        # An engine of this name may be of another kind by now.
        place.remote = remote and place.terms is None
        return place

    def places(self) -> list[Place]:
        """All that is known of."""
        return list(self._places.values())

    def residents(self) -> list[Resident]:
        """What is in memory, or on its way."""
        return [resident for place in self._places.values() if (resident := place.resident())]

    def want(self, place: Place, entry: ModelEntry, priority: Priority = "normal", *, warm: bool = False) -> None:
        """Have a load wait for its turn, unless one does or is under way."""
        attempt = place.attempt
        model = place.compute.applied(entry.spec)
        if attempt is None:
            place.entry = entry
            place.attempt = Attempt(entry, model, asyncio.get_running_loop().time(), priority, warm)
            self._line.add(place)
        elif attempt.started is None:
            attempt.model = model
            attempt.warm = attempt.warm or warm
            attempt.priority = min(attempt.priority, priority, key=RANKS.__getitem__)
        self.step()

    def leave(self, place: Place, reason: UnloadReason) -> asyncio.Task[float | None] | None:
        """Have a model leave, once its load has ended if one waits or is under way; None = there is nothing to leave."""
        if place.leaving is not None:
            return place.leaving
        if place.attempt is not None:
            return self._spawn(self._leave_when_loaded(place, reason), f"unload {place.entry.name} when loaded")
        return self.let_go(place, reason) if place.state is State.LOADED and not place.remote else None

    def drop(self, place: Place) -> asyncio.Task[None]:
        """Have a model leave that is served no more; those who wait for it now are served, and then it leaves again."""
        return self._spawn(self._drop(place), f"drop {place.entry.name}")

    @asynccontextmanager
    async def emptied(self, engine: str) -> AsyncIterator[None]:
        """Nothing is loaded on an engine, nor begins to be until the block ends: those who want its models wait."""
        self._held.add(engine)
        try:
            there = [place for place in self._places.values() if place.key.engine == engine]
            leaving = [self.leave(place, "reloading") for place in there if not place.waiting()]
            if leaving := [task for task in leaving if task is not None]:
                await asyncio.wait(leaving)
            yield
        finally:
            self._held.discard(engine)
            self.step()

    def let_go(self, place: Place, reason: UnloadReason) -> asyncio.Task[float | None]:
        """Have a loaded model leave once its running requests have ended; the task's result: MB freed, None = not told apart."""
        place.leaving = self._spawn(self._free(place, reason), f"unload {place.entry.name}")
        place.changed()
        return place.leaving

    def released(self, place: Place) -> None:
        """Nobody uses the place any more: someone may have waited for that."""
        if place.leaving is not None or place.draining:
            place.changed()
        self._seekers.moved()
        idle = self._rules.limits.idle if place.terms is None else place.terms.idle
        due = None if place.pinned or idle is None else place.used_at + idle
        if self._line or (due is not None and (self._timer is None or due < self._timer.when())):
            self.step()

    def step(self) -> None:
        """Do what the scheduler says, and come back when it says."""
        if self._closed:
            return
        now = asyncio.get_running_loop().time()
        ready = [place for place in self._line if place.key.engine not in self._held]
        waiting = [load for place in ready if (load := place.waiting())]
        decision = plan(self.residents(), waiting, self._rules.limits, now)
        drained = decision.drain | self._seekers.drained
        for place in self._places.values():
            draining = place.key in drained
            if place.draining != draining:
                place.draining = draining
                place.changed()
        for key in decision.expire:
            self.let_go(self._places[key], "idle")
        for key in decision.evict:
            self.let_go(self._places[key], "evicted")
        for key in decision.start:
            self._start(self._places[key], now)
        self._give_up(now)
        self._set_timer(decision.again)
        self._seekers.moved()

    async def check(self, key: Key, need: Need) -> None:
        """Refuse a load that cannot have room. Raises OutOfMemory."""
        await self._seekers.check(key, need)

    def lost(self, key: Key, error: BackendError) -> None:
        """An engine has ended by itself: what was loaded there is not any more, and its next request starts it again."""
        place = self._places.get(key)
        if place is not None:
            self._publish(
                Trouble(code=error_code(error), message=error.message, details={"model_id": place.entry.name})
            )
            place.lost(error)
        self._lost_adapters(key.engine)
        if place is not None and place.pinned and self._launcher.refusal(place.entry) is None:
            self.want(place, place.entry)
        self.step()

    def _lost_adapters(self, engine: str) -> None:
        for place in self._places.values():
            if place.key.engine == engine and place.key.model.adapter is not None:
                place.lost()

    def _holding(self, device: str) -> list[Resident]:
        """What holds memory on the device, or is about to."""
        here = [place for place in self._places.values() if place.holds_on(device)]
        return [each for place in here if (each := place.resident())] + self._launcher.asleep(device)

    def _leave_for_others(self, key: Key) -> None:
        place = self._places[key]
        if place.state is State.LOADED:
            self.let_go(place, "memory_pressure")
        else:
            self.end_sleeper(key.engine)

    @property
    def sleepers(self) -> list[str]:
        """Engines that sleep, and hold memory of the host meanwhile."""
        return self._launcher.sleepers()

    def end_sleeper(self, engine: str) -> None:
        """Have an engine that sleeps end, because memory is short."""
        self._spawn(self._launcher.end(engine), f"end {engine}")

    def relieve(self, key: Key) -> None:
        """Have a model go because memory is short, unless it is wanted by now."""
        place = self._places.get(key)
        resident = place.resident() if place else None
        if place is not None and resident is not None and resident.spare:
            self.let_go(place, "memory_pressure")

    async def close(self) -> None:
        """Stop loads that are under way."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _set_timer(self, again: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        times = [load.since + self._rules.wait for place in self._line if (load := place.waiting())]
        due = min(times if again is None else [*times, again], default=None)
        loop = asyncio.get_running_loop()
        self._timer = None if due is None else loop.call_at(due + 0.001, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.step()

    def _start(self, place: Place, now: float) -> None:
        attempt = place.attempt
        assert attempt is not None, "the scheduler starts what waits"
        self._line.discard(place)
        attempt.started = now
        place.take("load")
        self._spawn(self._load(place, attempt), f"load {place.entry.name}")

    async def _load(self, place: Place, attempt: Attempt) -> None:
        try:
            loaded = await self._loader.load(attempt, partial(self._seekers.make_way, place), self.step)
        except BackendError as error:
            place.failed(error)
        except BaseException:
            # Cancelled by close(); or else a fault of ours, after which nobody may wait for ever.
            place.failed(Unavailable("The server is shutting down; try again.", retry_after=1.0))
            raise
        else:
            now = asyncio.get_running_loop().time()
            place.loaded(loaded.model, loaded.device, loaded.memory_mb, loaded.seconds, now)
        if place.state is State.LOADED and way(attempt.model) != way(place.compute.applied(attempt.entry.spec)):
            self.reload(place, attempt.entry, attempt.priority, warm=attempt.warm)
        self.step()

    def reload(self, place: Place, entry: ModelEntry, priority: Priority, *, warm: bool) -> None:
        """Have a loaded model leave and come back, loaded in the way that is asked for by now."""
        self.let_go(place, "reloading")
        self.want(place, entry, priority, warm=warm)

    async def _free(self, place: Place, reason: UnloadReason) -> float | None:
        entry, model = place.entry, place.model
        assert model is not None, "only what is loaded leaves"
        kind = TYPES[entry.task]
        self._publish(UnloadStarted(model_id=entry.name, model_type=kind, reason=reason))
        freed: float | None = None
        try:
            while place.busy:
                await place.change()
            if place.state is State.LOADED:
                place.take("unload")
                freed = await self._loader.unload(entry, model, rest=reason in RESTING)
        except BackendError as error:
            self._log.warning("model unload failed", model=entry.name, error=error.message)
        finally:
            place.freed()
            if place.terms is not None:
                self._lost_adapters(place.key.engine)
        told = None if freed is None else round(freed, 1)
        self._log.info("model unloaded", model=entry.name, reason=reason, freed_mb=told)
        self._publish(UnloadCompleted(model_id=entry.name, model_type=kind, reason=reason, memory_freed_mb=told))
        self.step()
        return freed

    async def _leave_when_loaded(self, place: Place, reason: UnloadReason) -> float | None:
        while place.attempt is not None and place.leaving is None:
            await place.change()
        leaving = self.leave(place, reason)
        return 0.0 if leaving is None else await asyncio.shield(leaving)

    async def _drop(self, place: Place) -> None:
        for _ in range(2):
            leaving = self.leave(place, "requested")
            if leaving is None:
                return
            await asyncio.wait({leaving})

    def _give_up(self, now: float) -> None:
        """Tell those who wait that there was no place for as long as a request waits."""
        for place in list(self._line):
            waiting = place.waiting()
            if waiting is not None and now >= waiting.since + self._rules.wait:
                self._line.discard(place)
                error = self.no_place(place)
                place.gave_up(error)
                self._publish(replace(failure(place.entry, error), error_code="LOADING_TIMEOUT"))

    def no_place(self, place: Place) -> Unavailable:
        """The error for a model that found no place."""
        return Unavailable(
            f"The model `{place.entry.name}` found no place: {self._rules.limits.places} others are loaded and in use, or "
            "loading. Try again, or set LX_MODEL_CACHE_SIZE higher.",
            retry_after=5.0,
        )

    def _forget(self) -> None:
        """Keep what is known of models that are not loaded within bounds."""
        while len(self._places) > REMEMBERED:
            oldest = next((key for key, place in self._places.items() if place.forgettable), None)
            if oldest is None:
                return
            del self._places[oldest]

    def _spawn(self, work: Coroutine[object, object, T], name: str) -> asyncio.Task[T]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # The outcome is always looked at, also when nobody waits for it.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task
