"""When is a model loaded: one owner of that question; callers ask for the end they want."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from http import HTTPStatus

from backends.base import Health, ModelSpec
from backends.errors import BackendError, Rejected, Unavailable
from proxy.events.values import Event, UnloadReason
from proxy.lifecycle.engines import Engines
from proxy.lifecycle.fitting import Fitting
from proxy.lifecycle.floor import Floor
from proxy.lifecycle.gauge import Gauge
from proxy.lifecycle.launcher import Launcher
from proxy.lifecycle.ledger import Ledger
from proxy.lifecycle.loader import Loader
from proxy.lifecycle.memory import Room, read_room
from proxy.lifecycle.outcomes import is_models_failure
from proxy.lifecycle.places import AS_CONFIGURED, Check, Compute, Place, Work, way
from proxy.lifecycle.pressure import Watch
from proxy.lifecycle.probe import run_probe
from proxy.lifecycle.requirements import Consult, nothing_known
from proxy.lifecycle.rules import Rules
from proxy.lifecycle.scheduler import Key, Priority
from proxy.lifecycle.states import State
from proxy.registry.models import ModelEntry, Registry

AGAIN_SECONDS = 5.0
"""After which, at least, it is worth asking again for a model that loads."""


class LifecycleManager:
    """Loads models on demand and lets them go. Concurrent requests for one model are one load; one in use never goes.

    publish: told of every load and unload; facts: what is published of models; read: the memory, blocking.
    """

    def __init__(
        self,
        engines: Engines,
        rules: Rules | None = None,
        *,
        publish: Callable[[Event], None] = lambda _: None,
        facts: Consult = nothing_known,
        read: Callable[[], Room] = read_room,
    ) -> None:
        self._engines = engines
        self.rules = rules or Rules()
        self.gauge = Gauge(read)
        self._ledger = Ledger(self.rules.file)
        self._fitting = Fitting(engines, self.gauge, self._ledger, facts, self.rules.budget)
        self._launcher = Launcher(engines, self.gauge, self.rules.pressure, self._lost)
        loader = Loader(
            engines, self.gauge, self._ledger, self._fitting, self._launcher, publish, self.rules.load, self.use
        )
        self._floor = Floor(self.rules, loader, self._fitting, self._launcher, publish)
        self._watch = Watch(self._floor, self.gauge, self.rules)
        self._finding: asyncio.Task[None] | None = None

    def place(self, entry: ModelEntry) -> Place:
        """What is known of the model now; to be read, not to be changed."""
        return self._floor.place(entry, remote=self._engines.remote(entry.engine))

    def places(self) -> list[Place]:
        """All models of which something is known; to be read, not to be changed."""
        return self._floor.places()

    def ways(self, entry: ModelEntry) -> list[Place]:
        """All loads of the entry's model of which something is known: its own, and those of sessions in ways of theirs."""
        whole = replace(self._launcher.key(entry).model, variant="")
        return [
            place
            for place in self.places()
            if place.key.engine == entry.engine and replace(place.key.model, variant="") == whole
        ]

    def is_ready(self, entry: ModelEntry) -> bool:
        """Whether the model can run now, without waiting."""
        return self.place(entry).open

    def as_loaded(self, entry: ModelEntry) -> ModelSpec:
        """The model in the way in which it is loaded, or would be: as its engine is configured, or as a load has said."""
        return self.place(entry).compute.applied(entry.spec)

    async def ensure_ready(self, entry: ModelEntry) -> None:
        """Return when the model can run. Raises Unavailable when its load failed, or takes longer than a caller should wait.

        A caller who leaves does not stop the load: others may be waiting, and the next request will want it.
        """
        place = self.place(entry)
        await self._opened(place, entry)
        self._unwanted(place)

    async def preload(self, entry: ModelEntry) -> None:
        """Have the model ready for good: from now on it takes no place, and never goes by itself. Raises as ensure_ready does."""
        self.place(entry).pinned = True
        if (engine := self._launcher.carrying(entry)) is not None:
            self.place(engine).pinned = True
        await self.ensure_ready(entry)

    def serve_from(self, registry: Registry) -> None:
        """These are the models from now on."""
        self._launcher.serve_from(registry)

    def tell_starts(self, told: Callable[[str], None]) -> None:
        """Have somebody told by its name that an engine has been started."""
        self._launcher.started = told

    def on_demand(self, entry: ModelEntry) -> bool:
        """Whether what serves the model comes and goes, though it runs outside this process: hold it by use()."""
        return entry.spec.adapter is not None or self._engines.launch(entry.engine) is not None

    def waits(self, entry: ModelEntry) -> bool:
        """Whether a request would have to wait for the model to load."""
        elsewhere = self._engines.remote(entry.engine) and not self.on_demand(entry)
        return not elsewhere and not self.is_ready(entry)

    def use(self, entry: ModelEntry, *, patient: bool = False) -> AbstractAsyncContextManager[Work]:
        """The model is ready, and stays so until the block ends; how that went is noted. Raises as ensure_ready does.

        patient: the caller waits for as long as the load takes, and not for its share of that alone.
        """
        engine = self._launcher.carrying(entry)
        return self._used(entry, patient) if engine is None else self._carried(engine, entry, patient)

    def hold(self, entry: ModelEntry, *, patient: bool = False) -> AbstractAsyncContextManager[None]:
        """As use(), and nothing is noted."""
        engine = self._launcher.carrying(entry)
        return self._open(entry, patient) if engine is None else self._both_open(engine, entry, patient)

    @asynccontextmanager
    async def _both_open(self, engine: ModelEntry, entry: ModelEntry, patient: bool) -> AsyncIterator[None]:
        async with self._open(engine, patient), self._open(entry, patient):
            yield

    @asynccontextmanager
    async def _carried(self, engine: ModelEntry, entry: ModelEntry, patient: bool) -> AsyncIterator[Work]:
        async with self._open(engine, patient), self._used(entry, patient) as work:
            yield work

    @asynccontextmanager
    async def _used(self, entry: ModelEntry, patient: bool) -> AsyncIterator[Work]:
        place = self.place(entry)
        place.uses += 1
        place.hits += place.open
        clock = asyncio.get_running_loop().time
        async with self._open(entry, patient):
            started, work = clock(), Work()
            try:
                yield work
            except Exception as error:
                if not isinstance(error, BackendError) or is_models_failure(error):
                    place.figures.failed()
                raise
            else:
                if work.failed:
                    place.figures.failed()
                elif not work.refused:
                    place.figures.succeeded(clock() - started, clock())

    @asynccontextmanager
    async def _open(self, entry: ModelEntry, patient: bool) -> AsyncIterator[None]:
        """The model is ready, and nobody takes it away until the block ends."""
        place = self.place(entry)
        await self._opened(place, entry, patient=patient)
        place.wanted -= 1
        place.busy += 1
        try:
            yield
        except Rejected as error:
            if error.status == HTTPStatus.NOT_FOUND and entry.spec.adapter is not None:
                # Its engine has begun anew without it; the next request loads it again.
                place.lost()
            raise
        finally:
            place.busy -= 1
            place.used_at = asyncio.get_running_loop().time()
            if not place.busy and not place.remote:
                self._floor.released(place)

    def load(
        self,
        entry: ModelEntry,
        *,
        priority: Priority = "normal",
        compute: Compute | None = None,
        warm: bool = False,
    ) -> State:
        """Have the model loaded, and return at once: LOADED or LOADING. compute: None = as it is, or was last.

        One that is loaded in another way is loaded anew when its running requests have ended. warm: it has served a tiny
        request before it counts as loaded.
        """
        place = self.place(entry)
        if place.remote:
            return State.LOADED
        place.compute = compute or place.compute
        if place.state is State.LOADED and place.leaving is None:
            if place.model is not None and way(place.model) == way(place.compute.applied(entry.spec)):
                return State.LOADED
            self._floor.reload(place, entry, priority, warm=warm)
        else:
            self._floor.want(place, entry, priority, warm=warm)
        self._watch.keep()
        return State.LOADING

    async def unload(self, entry: ModelEntry, reason: UnloadReason = "requested") -> float | None:
        """Take the model out of memory once its running requests have ended: MB that this freed, None = not told apart.

        A caller who leaves does not stop it. Requests that come meanwhile wait, and load the model anew.
        """
        leaving = self._floor.leave(self.place(entry), reason)
        return 0.0 if leaving is None else await asyncio.shield(leaving)

    def drop(self, name: str) -> set[asyncio.Task[None]]:
        """Have every load of the model of this name leave, as it is served no more, once requests that are here have ended."""
        return {self._floor.drop(place) for place in self.places() if place.entry.name == name}

    async def exchange(self, engine: str) -> None:
        """Have an engine of this process be as it is configured by now, once the requests that run on it have ended.

        Those that come meanwhile wait; if it is configured no more, those that are here are served as before.
        """
        if not self._engines.configured(engine):
            there = [place for place in self.places() if place.key.engine == engine]
            await asyncio.gather(*(self._floor.drop(place) for place in there), return_exceptions=True)
        async with self._floor.emptied(engine):
            await self._engines.exchange(engine)

    def vacate(self, engine: str) -> set[asyncio.Task[None]]:
        """Have everything leave that is loaded on an engine, once the requests that are here have ended."""
        return {self._floor.drop(place) for place in self.places() if place.key.engine == engine}

    async def settle(self) -> None:
        """Engines that are started here are configured otherwise by now, or no more: those end, once the requests on them have."""
        gone = self._launcher.given_up()
        there = [place for place in self.places() if place.key.engine in gone and place.terms is not None]
        if leaving := [self._floor.drop(place) for place in there]:
            await asyncio.wait(leaving)
        changed = await self._launcher.configure()
        for place in self.places():
            if place.key in changed:
                self._floor.leave(place, "reloading")

    def asleep(self, engine: str) -> bool:
        """Whether an engine that is started here sleeps."""
        return self._launcher.sleeps(engine)

    def keep_only(self, entries: Iterable[ModelEntry]) -> None:
        """Of the models that are there for good, these stay so; the others stay for as long as any model would."""
        carried = [(entry, self._launcher.carrying(entry)) for entry in entries]
        kept = {self._launcher.key(each) for pair in carried for each in pair if each is not None}
        for place in self.places():
            place.pinned = place.pinned and place.key in kept
        self._floor.step()

    async def reload(self, entry: ModelEntry, compute: Compute | None = None) -> None:
        """Load the model anew, whatever is loaded. Raises Unavailable."""
        place = self.place(entry)
        place.compute = compute or place.compute
        await self.unload(entry, "reloading")
        await self.ensure_ready(entry)

    async def try_out(self, entry: ModelEntry) -> float | None:
        """Seconds that a tiny request took, really served; None where its engine knows none. Raises BackendError."""
        clock = asyncio.get_running_loop().time
        async with self.use(entry):
            started = clock()
            served = await run_probe(self._engines[entry.engine], entry.spec)
            return clock() - started if served else None

    async def engine_health(self, entry: ModelEntry) -> Health:
        """What its engine says of itself."""
        return await self._engines.health(entry.engine)

    def checked(self, entry: ModelEntry, check: Check) -> None:
        """Note the outcome of a health check."""
        self.place(entry).check = check

    async def check(self, entry: ModelEntry, compute: Compute = AS_CONFIGURED) -> None:
        """Refuse a load that is known beforehand to fail. Raises NoDevice, NotCached, OutOfMemory."""
        place = self.place(entry)
        if place.remote:
            return
        # What is in memory, or on its way, is here and does fit.
        new = place.state in (State.NOT_LOADED, State.ERROR)
        need = await self._fitting.need(entry, compute.applied(entry.spec), strict=new)
        if new:
            await self._floor.check(place.key, need)

    def revive(self, entry: ModelEntry) -> None:
        """Have an engine that ended by itself started again, unless it has failed too often for now; nobody waits for it."""
        if self._launcher.refusal(entry) is None:
            self.load(entry)

    async def ends(self, entry: ModelEntry, seconds: float) -> bool:
        """Whether the model is not there any more; waits so long to learn of it."""
        place = self.place(entry)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while place.open:
                    await place.change()
        return not place.open

    def percent(self, entry: ModelEntry) -> int | None:
        """How far the model's load is; None where none is under way, or it has not been told yet."""
        attempt = self.place(entry).attempt
        return None if attempt is None or attempt.standing is None else attempt.standing.percent

    def expected_seconds(self, entry: ModelEntry) -> float | None:
        """How long past loads of the model took, as it is to be loaded now; None = there was none, or it runs elsewhere."""
        place = self.place(entry)
        if place.remote:
            return None
        return self._ledger.expected(self._engines.spec(entry.engine), place.compute.applied(entry.spec)).seconds

    async def start(self) -> None:
        """Recall what past loads taught, and look for engines that run already."""
        await self._ledger.restore()
        self._finding = asyncio.create_task(self._find(), name="find engines")

    async def close(self) -> None:
        """Stop loads that are under way, and end the engines that were started as processes."""
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.gather(self._finding, return_exceptions=True)
        await self._watch.close()
        await self._floor.close()
        await self._launcher.close()

    async def _find(self) -> None:
        for entry in await self._launcher.found():
            self.load(entry)

    def _lost(self, key: Key, error: BackendError) -> None:
        self._floor.lost(key, error)

    async def _opened(self, place: Place, entry: ModelEntry, *, patient: bool = False) -> None:
        """Return when a request may run; from now on it counts as one who wants the model. Raises Unavailable."""
        place.wanted += 1
        if place.open:
            return
        try:
            async with asyncio.timeout(None if patient else self.rules.wait) as limit:
                await self._loaded(place, entry)
        except TimeoutError as error:
            self._unwanted(place)
            if limit.expired():
                raise self._still(place) from None
            raise error
        except BaseException:
            self._unwanted(place)
            raise
        self._watch.keep()

    async def _loaded(self, place: Place, entry: ModelEntry) -> None:
        while not place.open:
            if place.leaving is None and not place.draining:
                if place.attempt is None and (refusal := self._launcher.refusal(entry)) is not None:
                    raise refusal
                self._floor.want(place, entry)
            attempt = place.attempt
            await place.change()
            if attempt is not None and attempt.error is not None:
                raise attempt.error

    def _unwanted(self, place: Place) -> None:
        place.wanted -= 1
        if not place.wanted and not place.busy and not place.remote:
            self._floor.released(place)

    def _still(self, place: Place) -> Unavailable:
        attempt = place.attempt
        if attempt is None or attempt.started is None:
            return self._floor.no_place(place)
        if attempt.seeking:
            message = f"The model `{place.entry.name}` waits for memory that others use; try again."
            return Unavailable(message, retry_after=AGAIN_SECONDS)
        far = f" ({attempt.standing.stage}, {attempt.standing.percent} %)" if attempt.standing else ""
        expected = self.expected_seconds(place.entry)
        left = 0.0 if expected is None else attempt.started + expected - asyncio.get_running_loop().time()
        return Unavailable(
            f"The model `{place.entry.name}` is still loading{far}; try again.", retry_after=max(AGAIN_SECONDS, left)
        )
