"""Engines taken out of service and back, without losing a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.errors import ApiError, ErrorCode
from proxy.lifecycle.engines import Engines
from proxy.lifecycle.manager import LifecycleManager
from proxy.lifecycle.places import Place
from proxy.lifecycle.preloading import preload, preloaded
from proxy.registry.models import Registry
from proxy.routing.fleet import Fleet
from proxy.routing.replica import Replica

LOOK_SECONDS = 0.02
"""How often it is looked whether the last request has ended."""


class Maintenance:
    """What operators do to an engine, or to one replica of it. Methods raise NOT_FOUND for what is not configured."""

    def __init__(
        self, fleet: Fleet, engines: Engines, lifecycle: LifecycleManager, registry: Callable[[], Registry]
    ) -> None:
        self._fleet = fleet
        self._engines = engines
        self._lifecycle = lifecycle
        self._registry = registry
        self._preloading: set[asyncio.Task[None]] = set()

    def drain(self, engine: str, replica: str | None = None) -> None:
        """From now on it takes no new requests; models of this process leave the memory once they are not used any more."""
        self._check(engine, replica)
        self._fleet.drain(engine, replica)
        self._vacate(engine)

    def undrain(self, engine: str, replica: str | None = None) -> None:
        """It takes requests again."""
        self._check(engine, replica)
        self._fleet.drain(engine, replica, draining=False)
        entries = [entry for entry in preloaded(self._registry(), ()) if entry.engine == engine]
        task = asyncio.create_task(preload(self._lifecycle, entries), name=f"preload {engine}")
        self._preloading.add(task)
        task.add_done_callback(self._preloading.discard)

    def in_flight(self, engine: str, replica: str | None = None) -> int:
        """Requests that are with it, or that wait for what comes and goes there."""
        self._check(engine, replica)
        here = sum(place.busy + place.wanted for place in self.places(engine))
        return max(here, sum(each.in_flight for each in self._chosen(engine, replica)))

    async def emptied(self, engine: str, replica: str | None, seconds: float) -> int:
        """Wait until nothing is with an engine that is drained; how many requests are left after `seconds`."""
        clock = asyncio.get_running_loop().time
        end, leaving = clock() + seconds, self._vacate(engine)
        while self.in_flight(engine, replica) and clock() < end:  # noqa: ASYNC110 - facts of several owners
            await asyncio.sleep(LOOK_SECONDS)
        if leaving:
            await asyncio.wait(leaving, timeout=max(0.0, end - clock()))
        return self.in_flight(engine, replica)

    def asleep(self, engine: str) -> bool:
        """Whether an engine that is started here sleeps."""
        return self._lifecycle.asleep(engine)

    def places(self, engine: str) -> list[Place]:
        """What comes and goes on an engine of this process, or on one that is started here; to be read, not to be changed."""
        return [place for place in self._lifecycle.places() if place.key.engine == engine and not place.remote]

    async def close(self) -> None:
        """Give up what is still to be loaded."""
        for task in self._preloading:
            task.cancel()
        await asyncio.gather(*self._preloading, return_exceptions=True)

    def _vacate(self, engine: str) -> set[asyncio.Task[None]]:
        """Have the models of an engine of this process leave. What runs elsewhere keeps what it has loaded."""
        return set() if self._fleet.replicas(engine) else self._lifecycle.vacate(engine)

    def _chosen(self, engine: str, replica: str | None) -> list[Replica]:
        return [each for each in self._fleet.replicas(engine) if replica in (None, each.name)]

    def _check(self, engine: str, replica: str | None) -> None:
        if not self._engines.configured(engine):
            known = ", ".join(self._registry().engines)
            raise ApiError(ErrorCode.NOT_FOUND, f"There is no engine `{engine[:200]}` (known: {known}).")
        if replica is not None and not self._chosen(engine, replica):
            known = ", ".join(each.name for each in self._fleet.replicas(engine)) or "none, it runs in this process"
            raise ApiError(ErrorCode.NOT_FOUND, f"`{engine}` has no replica `{replica[:200]}` (known: {known}).")
