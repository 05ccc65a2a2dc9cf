"""The configuration read anew while requests run: what has changed is exchanged, and nothing that runs is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass

import structlog

from backends import REMOTE
from backends.base import EngineSpec
from proxy.lifecycle.engines import Engines, Made
from proxy.lifecycle.manager import LifecycleManager
from proxy.lifecycle.preloading import preload, preloaded
from proxy.observability.metrics import Metrics
from proxy.registry.config import ConfigError, configuration, load_registry
from proxy.registry.diff import Diff, diff
from proxy.registry.live import LiveRegistry, talking
from proxy.registry.models import Registry
from proxy.routing.fleet import Fleet
from proxy.settings import Settings


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A configuration, and all that had to be waited for to serve it."""

    registry: Registry
    replicas: dict[str, tuple[Made, ...]]
    talking: frozenset[str]


class Reloader:
    """Owner of the configuration that is served. Reloads come one after the other."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        engines: Engines,
        lifecycle: LifecycleManager,
        live: LiveRegistry,
        fleet: Fleet,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._engines = engines
        self._lifecycle = lifecycle
        self._live = live
        self._fleet = fleet
        self._metrics = metrics
        self._turn = asyncio.Lock()
        self._exchanges: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("reload")

    async def reload(self) -> Diff:
        """Serve what the configuration says by now. Raises ConfigError for a bad one, and the old one stays.

        Replicas that are no more end what they have begun; so do models of this process, and those of engines that are
        configured otherwise load anew for requests that come after.
        """
        async with self._turn:
            try:
                prepared = await asyncio.to_thread(self._prepare)
            except ConfigError as error:
                self._log.error("configuration refused, the old one stays", error=str(error))
                self._metrics.reloaded("refused")
                raise
            # From here on nothing is waited for: no request sees a part of it.
            before, self._registry = self._registry, prepared.registry
            stale = self._engines.configure(prepared.registry.engines, prepared.replicas)
            self._live.configure(prepared.registry, prepared.talking)
            self._lifecycle.keep_only(preloaded(prepared.registry, self._fleet.drained))
            for engine in prepared.registry.drained - before.drained:
                self._lifecycle.vacate(engine)
            for engine in stale:
                self._exchange(engine)
            settling = self._spawn(self._lifecycle.settle(), "settle engines")
            self._spawn(self._preload(prepared.registry, settling), "preload")
        found = diff(before, prepared.registry)
        self._metrics.reloaded("reloaded" if found else "unchanged")
        self._log.info("configuration reloaded", changes=found.words())
        return found

    def soon(self) -> None:
        """Reload, and tell the log alone how that went."""
        self._spawn(self._quietly(), "reload")

    async def close(self) -> None:
        """Give up what is still to be exchanged or loaded."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _prepare(self) -> _Prepared:
        try:
            registry = reread(self._settings, self._registry)
            return _Prepared(registry, self._engines.replicas_for(registry.engines), talking(registry))
        except (ValueError, OSError) as error:
            raise ConfigError(f"{configuration(self._settings)}: {error}") from error

    async def _quietly(self) -> None:
        with suppress(ConfigError):
            await self.reload()

    def _exchange(self, engine: str) -> None:
        """Have an engine of this process exchanged, unless it waits for that already."""
        if engine not in self._exchanges:
            task = self._spawn(self._lifecycle.exchange(engine), f"exchange {engine}")
            self._exchanges[engine] = task
            task.add_done_callback(lambda _: self._exchanges.pop(engine))

    async def _preload(self, registry: Registry, settling: asyncio.Task[None]) -> None:
        await asyncio.wait((settling, *self._exchanges.values()))
        if registry is self._registry:
            await preload(self._lifecycle, preloaded(registry, self._fleet.drained))

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("reload left something undone", task=task.get_name(), exc_info=error)


def reread(settings: Settings, before: Registry) -> Registry:
    """The configuration as its file says by now. Blocks. Raises ConfigError, also for what only a restart can change."""
    path = configuration(settings)
    if not path.is_file():
        if before.file is None and settings.config is None:
            return before
        raise ConfigError(f"{path}: no such file")
    registry = load_registry(settings)
    if bool(settings.api_keys or before.keys) != bool(settings.api_keys or registry.keys):
        raise ConfigError(
            f"{path}: keys: a door with keys cannot become one without, nor the other way, but by a restart"
        )
    for name in before.engines.keys() & registry.engines.keys():
        if _moves(before.engines[name], registry.engines[name]):
            what = "an engine that is started here and one of this process cannot take each other's place"
            raise ConfigError(f"{path}: engines: {name!r}: {what}; give the new one another name")
    return registry


def _moves(was: EngineSpec, now: EngineSpec) -> bool:
    """Whether an engine was a process of its own, and is to be a part of this one; or the other way."""
    return (was.kind in REMOTE) != (now.kind in REMOTE) and (was.launch or now.launch) is not None
