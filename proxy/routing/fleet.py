"""The replicas of all remote engines: one for each base URL, with what is known of it now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from backends.base import Backend, Relay
from proxy.lifecycle.engines import Engines, Made
from proxy.registry.models import ModelEntry, Registry, Target

SKIPPED_FOR = 3.0  # seconds for which a replica that refused a connection is left alone while others may be tried


@dataclass(slots=True, eq=False)
class Replica:
    """One base URL of an engine. relay: None where its dialect is not OpenAI's; away_until: on the loop's clock.

    draining: it takes no new requests.
    """

    name: str
    engine: str
    url: str
    backend: Backend
    relay: Relay | None
    in_flight: int = 0
    away_until: float = 0.0
    draining: bool = False
    _emptied: asyncio.Event | None = None

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A request is with it until the block ends."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            if self._emptied is not None and not self.in_flight:
                self._emptied.set()
                self._emptied = None

    async def emptied(self) -> None:
        """Return when no request is with it."""
        while self.in_flight:
            self._emptied = self._emptied or asyncio.Event()
            await self._emptied.wait()


class Choice(NamedTuple):
    """Where a request goes, and what the model is called there."""

    target: Target
    replica: Replica


class Fleet:
    """Owner of the replicas. drained: engines that take no new requests, those of this process among them.

    leaving: replicas that are configured no more, and end what they have begun.
    """

    def __init__(self, engines: Engines, registry: Registry) -> None:
        self._engines = engines
        self._replicas: dict[str, tuple[Replica, ...]] = {}
        self.drained: set[str] = set()
        self._drained_by_file: frozenset[str] = frozenset()
        self.leaving: dict[Replica, asyncio.Task[None]] = {}
        self._turn = 0
        self.serve_from(registry)

    def serve_from(self, registry: Registry) -> None:
        """Engines have come, gone or changed. A replica that is as it was stays; one that is no more is closed when it is idle.

        What was drained, or not, by hand stays so, too, unless the configuration says otherwise than it did.
        """
        names = registry.engines
        before = self._replicas
        self._replicas = {
            name: tuple(
                _kept(made, before.get(name, ())) or self._replica(name, made) for made in self._engines.replicas(name)
            )
            for name in names
        }
        for engine in registry.drained ^ self._drained_by_file:
            self.drain(engine, draining=engine in registry.drained)
        self._drained_by_file = registry.drained
        self.drained &= {*names}
        for replica in {*chain(*before.values())} - {*chain(*self._replicas.values())}:
            replica.draining = True
            self.leaving[replica] = asyncio.create_task(self._leave(replica), name=f"close {replica.name}")

    async def close(self) -> None:
        """Close what is still leaving, whatever it does. The others are their engines' to close."""
        for replica, task in [*self.leaving.items()]:
            task.cancel()
            await replica.backend.close()

    def drain(self, engine: str, replica: str | None = None, *, draining: bool = True) -> None:
        """Have an engine, or one replica of it, take no new requests; or take them again."""
        if not draining:
            self.drained.discard(engine)
        elif replica is None:
            self.drained.add(engine)
        for each in self.replicas(engine):
            if replica in (None, each.name):
                each.draining = draining

    def replicas(self, engine: str) -> tuple[Replica, ...]:
        """The replicas of an engine; none of one in this process."""
        return self._replicas.get(engine, ())

    def _replica(self, engine: str, made: Made) -> Replica:
        url, relay = made.spec.urls[0], _as_relay(made.backend)
        return Replica(made.spec.name, engine, url, made.backend, relay, draining=engine in self.drained)

    async def _leave(self, replica: Replica) -> None:
        await replica.emptied()
        await replica.backend.close()
        del self.leaving[replica]

    def candidates(self, entry: ModelEntry) -> list[Choice]:
        """Every replica that serves the model; none for a model of this process."""
        targets = entry.targets or (Target(engine=entry.engine, spec=entry.spec),)
        return [Choice(target, replica) for target in targets for replica in self._replicas.get(target.engine, ())]

    def usable(self, engine: str) -> int:
        """How many replicas of an engine take requests now."""
        now = time.monotonic()
        return sum(not replica.draining and replica.away_until <= now for replica in self._replicas.get(engine, ()))

    def choose(self, candidates: list[Choice], now: float) -> Choice:
        """The one with least in flight; equals take turns. Replicas that are away only where all are."""
        if len(candidates) == 1:
            return candidates[0]
        self._turn += 1
        turn = self._turn % len(candidates)
        order = candidates[turn:] + candidates[:turn]
        here = [choice for choice in order if choice.replica.away_until <= now]
        return min(here or order, key=lambda choice: choice.replica.in_flight)


def _kept(made: Made, before: Iterable[Replica]) -> Replica | None:
    return next((replica for replica in before if replica.backend is made.backend), None)


def _as_relay(backend: object) -> Relay | None:
    return backend if isinstance(backend, Relay) else None
