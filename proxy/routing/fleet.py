"""The replicas of all remote engines, and which of them serve a model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from backends.errors import Unavailable
from proxy.lifecycle.engines import Engines, Made
from proxy.registry.models import ModelEntry, Registry, Target
from proxy.routing.prefixes import BYTES_HELD
from proxy.routing.replica import Replica, replica_of
from proxy.routing.standing import MOST_HELD


class Choice(NamedTuple):
    """Where a request goes, and what the model is called there."""

    target: Target
    replica: Replica

    @property
    def on_demand(self) -> bool:
        """Whether the engine, or the adapter on it, comes and goes: it is to be held while it serves."""
        return self.replica.spec.launch is not None or self.target.spec.adapter is not None


class Plan:
    """What is known of a model's requests before any comes. on_demand: an engine of it, or an adapter, comes and goes."""

    __slots__ = ("_relayed", "choices", "entry", "on_demand")

    def __init__(self, entry: ModelEntry, choices: tuple[Choice, ...]) -> None:
        self.entry = entry
        self.choices = choices
        self.on_demand = any(choice.on_demand for choice in choices)
        self._relayed: dict[tuple[str, str], tuple[bool, ...]] = {}

    def relayed(self, method: str, path: str) -> tuple[bool, ...]:
        """Which of the choices pass such a request on as it is. Paths are those of routes: a few."""
        able = self._relayed.get((method, path))
        if able is None:
            able = tuple(
                replica.relay is not None and replica.relay.relays(method, path) for _, replica in self.choices
            )
            self._relayed[method, path] = able
        return able


class Fleet:
    """Owner of the replicas. drained: engines that take no new requests, those of this process among them.

    leaving: replicas that are configured no more, and end what they have begun.
    """

    def __init__(self, engines: Engines, registry: Registry) -> None:
        self._engines = engines
        self._replicas: dict[str, tuple[Replica, ...]] = {}
        self._plans: dict[int, Plan] = {}
        self.drained: set[str] = set()
        self._drained_by_file: frozenset[str] = frozenset()
        self.leaving: dict[Replica, asyncio.Task[None]] = {}
        self.serve_from(registry)

    def serve_from(self, registry: Registry) -> None:
        """Engines have come, gone or changed. A replica that is as it was stays; one that is no more is closed when it is idle.

        What was drained, or not, by hand stays so, too, unless the configuration says otherwise than it did.
        """
        names = registry.engines
        before = self._replicas
        self._replicas = {
            name: tuple(
                _kept(made, before.get(name, ())) or replica_of(name, made, draining=name in self.drained)
                for made in self._engines.replicas(name)
            )
            for name in names
        }
        self._plans = {id(entry): self._plan(entry) for entry in registry.models}
        for engine in registry.drained ^ self._drained_by_file:
            self.drain(engine, draining=engine in registry.drained)
        self._drained_by_file = registry.drained
        self.drained &= {*names}
        share = registry.prefix_bytes // BYTES_HELD // max(1, len([*self.all()]))
        for replica in self.all():
            replica.standing.most = max(1, min(share, MOST_HELD))
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
        replicas = self.replicas(engine)
        for each in replicas:
            if replica in (None, each.name):
                each.draining = draining
        if all(each.draining for each in replicas) if replicas else draining:
            self.drained.add(engine)
        else:
            self.drained.discard(engine)

    def renew(self, engine: str) -> None:
        """An engine has been started: what was known of the one before is no more of use."""
        for replica in self.replicas(engine):
            replica.identity.forget()
            replica.standing.forget()
            replica.health.renewed(asyncio.get_running_loop().time())

    def replicas(self, engine: str) -> tuple[Replica, ...]:
        """The replicas of an engine; none of one in this process."""
        return self._replicas.get(engine, ())

    async def _leave(self, replica: Replica) -> None:
        await replica.emptied()
        await replica.backend.close()
        del self.leaving[replica]

    def plan(self, entry: ModelEntry) -> Plan:
        """The way of a model's requests."""
        plan = self._plans.get(id(entry))
        return plan if plan is not None and plan.entry is entry else self._plan(entry)

    def candidates(self, entry: ModelEntry) -> tuple[Choice, ...]:
        """Every replica that serves the model; none for a model of this process."""
        return self.plan(entry).choices

    def _plan(self, entry: ModelEntry) -> Plan:
        choices = (
            Choice(target, replica) for target in entry.served_by for replica in self._replicas.get(target.engine, ())
        )
        return Plan(entry, tuple(choices))

    def usable(self, engine: str) -> int:
        """How many replicas of an engine take requests now."""
        return sum(not (replica.draining or replica.health.out) for replica in self._replicas.get(engine, ()))

    def all(self) -> Iterator[Replica]:
        """Every replica of every engine."""
        return chain(*self._replicas.values())


def drained(entry: ModelEntry) -> Unavailable:
    """The error where an operator keeps requests from everything that serves the model."""
    return Unavailable(f"The engine behind `{entry.name}` is drained: it takes no new requests.", retry_after=5)


def _kept(made: Made, before: Iterable[Replica]) -> Replica | None:
    return next((replica for replica in before if replica.backend is made.backend), None)
