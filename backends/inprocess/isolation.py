"""A backend in a process of its own: a fault of CUDA or a library ends that process, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import cast

from backends.base import EngineSpec, Health, ModelSpec, Progress, Report
from backends.errors import BackendError, Invalid, Unavailable
from backends.inprocess.child import Child, WorkerDied
from backends.inprocess.suspects import Suspects
from backends.inprocess.wire import pack
from backends.types import Event, Request

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a worker counts as hung, and how long after a death the next one starts. All in seconds.

    patience: silence of its event loop; first_rest doubles with each death up to longest_rest, and is the first again
    once a worker has lived for `steady`.
    """

    patience: float = 60.0
    first_rest: float = 0.5
    longest_rest: float = 60.0
    steady: float = 300.0

    def rest(self, deaths: int) -> float:
        """How long to wait after so many deaths in a row (at least one)."""
        return min(self.longest_rest, self.first_rest * 2.0 ** min(deaths - 1, 30))


class IsolatedBackend:
    """The backend `inner` ("module:Class"), run elsewhere: one worker process, replaced with its models when it dies.

    Requests in flight at a death get Unavailable, to be sent again. One that was there at a death runs apart from others
    that were, and when its worker dies again it is refused from then on.
    """

    def __init__(self, spec: EngineSpec, inner: str, rules: Rules | None = None) -> None:
        self._spec = replace(spec, isolation="thread")
        self._inner = inner
        self._rules = rules or Rules()
        self._child: Child | None = None
        self._born = 0.0
        self._deaths = 0
        self._revival: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._models: dict[ModelSpec, None] = {}
        self._running: Counter[str] = Counter()
        self._suspects = Suspects()
        self._one_suspect = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Of the worker, while there is one."""
        return None if self._child is None else self._child.pid

    async def load(self, model: ModelSpec, report: Report) -> None:
        """As the inner backend; the worker starts with the first model."""
        async with self._starting:
            self._refuse_while_reviving()
            if self._child is None:
                self._install(await self._start())
            child = self._alive()
        await child.call("load", model, lambda progress: report(cast("Progress", progress)))
        self._models[model] = None

    async def unload(self, model: ModelSpec) -> None:
        """As the inner backend."""
        self._models.pop(model, None)
        if self._child is not None:
            with suppress(WorkerDied):  # which frees the model too
                await self._child.call("unload", model)

    async def health(self) -> Health:
        """As the inner backend; not well while a dead worker is being replaced, well before the first."""
        try:
            self._refuse_while_reviving()
            return cast("Health", await self._child.call("health")) if self._child else Health(True)
        except BackendError as error:
            return Health(False, error.message)

    async def probe(self, model: ModelSpec) -> Request | None:
        """As the inner backend."""
        return cast("Request | None", await self._alive().call("probe", model))

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """As the inner backend. Raises Unavailable while the worker is dead, Invalid for requests that killed two."""
        packed, known_as = await asyncio.to_thread(_packed, model, request)
        async with (
            self._tried(known_as),
            aclosing(self._alive().exchange("run", packed)) as replies,
        ):
            async for kind, value in replies:
                if kind == "item":
                    yield cast("Event", value)

    async def close(self) -> None:
        """End the worker."""
        if self._revival is not None:
            self._revival.cancel()
            await asyncio.gather(self._revival, return_exceptions=True)
        child, self._child = self._child, None
        if child is not None:
            await child.stop()

    @asynccontextmanager
    async def _tried(self, request: str) -> AsyncGenerator[None, None]:
        """Run the block as a trial of the request: it counts as in flight, and alone among suspects if it is one."""
        async with self._one_suspect if self._suspects.suspected(request) else nullcontext():
            if self._suspects.convicted(request):
                raise Invalid("This request has twice crashed the engine that ran it, and is not run again; change it.")
            self._refuse_while_reviving()
            self._running[request] += 1
            try:
                yield
            except BackendError as error:
                if not isinstance(error, WorkerDied):
                    self._suspects.cleared(request)
                raise
            else:
                self._suspects.cleared(request)
            finally:
                self._running[request] -= 1
                self._running += Counter()  # without those at zero

    def _alive(self) -> Child:
        if self._child is None:
            raise Unavailable(f"{self._spec.name} has no worker process.")
        return self._child

    def _refuse_while_reviving(self) -> None:
        if self._revival is not None:
            raise Unavailable(
                f"The worker process of {self._spec.name} ended and is being replaced; try again.",
                retry_after=self._rules.rest(self._deaths) + 1.0,
            )

    async def _start(self) -> Child:
        return await Child.start(self._inner, self._spec, patience=self._rules.patience, on_death=self._died)

    def _install(self, child: Child) -> None:
        self._child = child
        self._born = asyncio.get_running_loop().time()

    def _died(self, child: Child) -> None:
        """A worker died: blame, and replace it, if it was the one in use and not one still starting."""
        if child is not self._child:
            return
        self._child = None
        self._suspects.died(list(self._running))
        if asyncio.get_running_loop().time() - self._born > self._rules.steady:
            self._deaths = 0
        self._deaths += 1
        log.warning(
            "worker of %s %s; the next starts in %g s", self._spec.name, child.ending, self._rules.rest(self._deaths)
        )
        self._revival = asyncio.create_task(self._revive())

    async def _revive(self) -> None:
        """A new worker with the models of the old one, after a rest that grows with each failure."""
        while True:
            await asyncio.sleep(self._rules.rest(self._deaths))
            try:
                child = await self._start()
                try:
                    for model in list(self._models):
                        await child.call("load", model)
                except BaseException:
                    await child.stop()
                    raise
            except BackendError as error:
                self._deaths += 1
                rest = self._rules.rest(self._deaths)
                log.warning("worker of %s not replaced, tried again in %g s: %s", self._spec.name, rest, error.message)
                continue
            self._install(child)
            self._revival = None
            return


def _packed(model: ModelSpec, request: Request) -> tuple[bytes, str]:
    """What goes to the worker, and a name by which the same request is known again."""
    packed = pack((model, request))
    return packed, hashlib.blake2b(packed, digest_size=16).hexdigest()
