"""Asking engines each second how busy they are: those between whose replicas there is a choice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from backends.base import Gauged
from backends.errors import BackendError
from proxy.registry.models import Registry
from proxy.routing.replica import Replica

EVERY = 1.0
"""Seconds between two questions."""

log = structlog.get_logger("gauges")


class Scraper:
    """Asks without waiting for one another: a slow engine's figures grow old alone. Failures are told, and harm no request.

    registry: the models of now; replicas: those of an engine.
    """

    def __init__(self, registry: Callable[[], Registry], replicas: Callable[[str], tuple[Replica, ...]]) -> None:
        self._registry = registry
        self._replicas = replicas
        self._asking: dict[Replica, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                self._ask_all()
                await asyncio.sleep(EVERY)
        finally:
            asking = [*self._asking.values()]
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    def _ask_all(self) -> None:
        for engine in contested(self._registry()):
            for replica in self._replicas(engine):
                if replica not in self._asking and isinstance(replica.backend, Gauged):
                    task = asyncio.create_task(self._ask(replica, replica.backend), name=f"gauges of {replica.name}")
                    self._asking[replica] = task

    async def _ask(self, replica: Replica, backend: Gauged) -> None:
        standing, before = replica.standing, replica.standing.silent
        try:
            gauges = await backend.gauges()
        except BackendError as error:
            standing.silent = error.message
            if before is None:
                log.warning("no figures", replica=replica.name, reason=error.message)
        else:
            standing.read(gauges, asyncio.get_running_loop().time(), replica.in_flight)
            if before is not None:
                log.info("figures again", replica=replica.name)
        finally:
            del self._asking[replica]


def contested(registry: Registry) -> frozenset[str]:
    """The engines that have several replicas, or serve a model beside others."""
    several = {name for name, engine in registry.engines.items() if len(engine.urls) > 1}
    beside = {target.engine for entry in registry.models for target in entry.targets}
    serving = {entry.engine for entry in registry.models} | beside
    return frozenset((several & serving) | beside)
