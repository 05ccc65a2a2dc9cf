"""What is known of each model while the process runs: its state, who uses it, and how its work went."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from backends.base import ModelSpec
from backends.errors import BackendError
from proxy.lifecycle.figures import Figures
from proxy.lifecycle.progress import Standing
from proxy.lifecycle.requirements import Need
from proxy.lifecycle.scheduler import Key, Priority, Resident, Waiting
from proxy.lifecycle.states import State, Step, after
from proxy.registry.models import ModelEntry

REFUSED_FROM, FAILED_FROM = 400, 500
Verdict: TypeAlias = Literal["healthy", "degraded", "unhealthy"]


@dataclass(frozen=True, slots=True)
class Compute:
    """How a model is to be loaded; None = as its engine is configured."""

    device: str | None = None
    compute_type: str | None = None

    def applied(self, model: ModelSpec) -> ModelSpec:
        """The model, to be loaded this way; what is not said here it says itself."""
        return replace(
            model,
            device=self.device or model.device,
            compute_type=self.compute_type or model.compute_type,
        )


AS_CONFIGURED = Compute()


def way(model: ModelSpec) -> tuple[str | None, str | None, int | None]:
    """What makes two loads of one model different."""
    return model.device, model.compute_type, model.cpu_threads


@dataclass(frozen=True, slots=True)
class Terms:
    """How what is outside comes and goes, where the rules are for models of this process. As launch.Launch says them."""

    idle: float | None = None
    evict_cost: float | None = None


@dataclass(slots=True, eq=False)
class Attempt:
    """A load that waits for its turn or is under way, however many wait for it. Times in seconds of the loop's clock.

    need: what it is expected to hold, and where, once that is known; seeking: there is no room for it yet.
    """

    entry: ModelEntry
    model: ModelSpec
    since: float
    priority: Priority = "normal"
    warm: bool = False
    started: float | None = None
    standing: Standing | None = None
    error: BackendError | None = None
    need: Need | None = None
    seeking: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of a health check. seconds: how long its inference took, None = none ran."""

    at: datetime
    verdict: Verdict
    seconds: float | None


@dataclass(slots=True)
class Work:
    """One use of a model, where its outcome is told by other means than an exception: an answer that is passed on as it is.

    failed: by the model or its engine; refused: the request was wrong. Else it is done when its block ends.
    """

    failed: bool = False
    refused: bool = False

    def answered(self, status: int, *, whole: bool) -> None:
        """An engine answered with this HTTP status. whole: the answer came to its end."""
        self.failed = status >= FAILED_FROM or not whole
        self.refused = REFUSED_FROM <= status < FAILED_FROM


@dataclass(slots=True, eq=False)
class Place:
    """One model. busy: requests that run on it; wanted: requests that wait for it; hits: those that found it loaded.

    terms: how it comes and goes where it is outside this process; load_seconds: that its latest load took.
    """

    key: Key
    entry: ModelEntry
    remote: bool = False
    terms: Terms | None = None
    pinned: bool = False
    compute: Compute = AS_CONFIGURED
    state: State = State.NOT_LOADED
    model: ModelSpec | None = None
    busy: int = 0
    wanted: int = 0
    uses: int = 0
    hits: int = 0
    loaded_at: float = 0.0
    loaded_on: datetime | None = None
    used_at: float = 0.0
    load_seconds: float = 0.0
    memory_mb: float | None = None
    device: str | None = None
    error: BackendError | None = None
    failed_on: datetime | None = None
    attempt: Attempt | None = None
    draining: bool = False
    leaving: asyncio.Task[float | None] | None = None
    check: Check | None = None
    figures: Figures = field(default_factory=Figures)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def open(self) -> bool:
        """Whether a request may run on it now."""
        return self.remote or (self.state is State.LOADED and self.leaving is None and not self.draining)

    @property
    def here(self) -> bool:
        """Whether it is a model of this process: neither an engine elsewhere, nor one that is started here."""
        return not self.remote and self.terms is None

    @property
    def forgettable(self) -> bool:
        """Whether nothing would be lost but its figures."""
        idle = not (self.busy or self.wanted or self.pinned or self.attempt or self.leaving)
        return idle and self.state in (State.NOT_LOADED, State.ERROR)

    def holds_on(self, device: str) -> bool:
        """Whether it holds memory on the device, or is about to."""
        need = self.attempt.need if self.attempt is not None else None
        return device == (self.device or (need.device if need is not None else None))

    def take(self, step: Step) -> None:
        """Go on to the next state."""
        self.state = after(self.state, step)

    def loaded(self, model: ModelSpec, device: str, memory_mb: float | None, seconds: float, now: float) -> None:
        """Its load has succeeded."""
        self.take("ready")
        self.model, self.device, self.memory_mb, self.load_seconds = model, device, memory_mb, seconds
        self.loaded_at = self.used_at = now
        self.loaded_on = datetime.now(UTC)
        self.error = self.attempt = None
        self.changed()

    def failed(self, error: BackendError) -> None:
        """Its load has failed, and with it the requests that wait for it."""
        self.take("failed")
        self.error = error
        self.failed_on = datetime.now(UTC)
        for _ in range(self.wanted):
            self.figures.failed()
        self.gave_up(error)

    def lost(self, error: BackendError | None = None) -> None:
        """It is in memory no more, and nobody took it out."""
        if self.state is State.LOADED:
            self.take("lost")
            self.model = self.device = self.memory_mb = self.loaded_on = None
            self.error = error
            self.changed()

    def gave_up(self, error: BackendError) -> None:
        """Its load is over, for those who wait for it, too."""
        if self.attempt is not None:
            self.attempt.error = error
        self.attempt = None
        self.changed()

    def freed(self) -> None:
        """It has left the memory, or at least nothing runs on it any more."""
        if self.state is State.UNLOADING:
            self.take("freed")
            self.model = self.device = self.memory_mb = self.loaded_on = None
        self.leaving = None
        self.draining = False
        self.changed()

    async def change(self) -> None:
        """Wait until something about it is different."""
        await self._changed.wait()

    def changed(self) -> None:
        """Wake whoever waits for it."""
        self._changed.set()
        self._changed = asyncio.Event()

    def resident(self) -> Resident | None:
        """As the scheduler sees what is in memory, or on its way."""
        if self.remote or self.state in (State.NOT_LOADED, State.ERROR):
            return None
        loading = self.state is State.LOADING
        leaving = self.leaving is not None
        attempt, terms = self.attempt, self.terms
        standing = attempt.standing if attempt else None
        seeking = attempt is not None and attempt.seeking
        need = attempt.need if loading and attempt is not None else None
        return Resident(
            key=self.key,
            state="loading" if loading else "unloading" if leaving else "loaded",
            # Those who wait are about to use it, unless it was told to leave first.
            busy=bool(self.busy or (self.wanted and not self.draining)),
            pinned=self.pinned,
            draining=self.draining,
            downloading=loading and (seeking or (standing is not None and standing.stage == "downloading")),
            loaded_at=self.loaded_at,
            used_at=self.used_at,
            uses=self.uses,
            memory_mb=self.memory_mb if need is None else need.mb,
            outside=terms is not None,
            idle=None if terms is None else terms.idle,
            cost=0.0 if terms is None else self.load_seconds if terms.evict_cost is None else terms.evict_cost,
            stay=self.load_seconds,
        )

    def waiting(self) -> Waiting | None:
        """As the scheduler sees a load whose turn has not come."""
        attempt = self.attempt
        if attempt is None or attempt.started is not None or self.leaving is not None:
            return None
        return Waiting(
            key=self.key,
            since=attempt.since,
            priority=attempt.priority,
            pinned=self.pinned,
            outside=self.terms is not None,
        )
