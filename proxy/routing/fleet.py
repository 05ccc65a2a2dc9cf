"""The replicas of all remote engines: one for each base URL, with what is known of it now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import structlog

from backends.base import Backend, EngineSpec, Relay, Watched
from backends.errors import Unavailable
from proxy.lifecycle.engines import Engines, Made
from proxy.registry.models import ModelEntry, Registry, Target
from proxy.routing.health import End, ReplicaHealth, State
from proxy.routing.identity import Identity
from proxy.routing.policy import number_of
from proxy.routing.prefixes import BYTES_HELD
from proxy.routing.standing import MOST_HELD, Standing

log = structlog.get_logger("health")


@dataclass(slots=True, eq=False)
class Replica:
    """One base URL of an engine. spec: with that URL alone; relay: None where its dialect is not OpenAI's.

    watched: None where nothing is known of its connections; draining: it takes no new requests; served: how many it was sent.
    """

    name: str
    engine: str
    url: str
    spec: EngineSpec
    backend: Backend
    relay: Relay | None
    watched: Watched | None
    health: ReplicaHealth
    standing: Standing
    identity: Identity = field(default_factory=Identity)
    in_flight: int = 0
    served: int = 0
    draining: bool = False
    looked_at: float = 0.0
    _sent_before_trial: int = 0
    _emptied: asyncio.Event | None = None

    def enter(self) -> None:
        """A request is with it from now on; whoever calls this calls leave() in a `finally`."""
        self.in_flight += 1
        self.served += 1

    def expect(self) -> None:
        """A request is about to be sent there, and counts as one of its own from now on; likewise."""
        self.in_flight += 1

    def leave(self) -> None:
        """It is not any more."""
        self.in_flight -= 1
        if self._emptied is not None and not self.in_flight:
            self._emptied.set()
            self._emptied = None

    def began(self, now: float) -> int:
        """A request goes there: its ticket."""
        if self.health.out and self.watched is not None:
            self._sent_before_trial = self.watched.pulse(now).sent
        return self.health.began(now)

    def proved(self, ticket: int) -> None:
        """A trial's answer has begun."""
        self.health.proved(asyncio.get_running_loop().time(), ticket)

    def look_due(self, now: float) -> bool:
        """Whether to see if somebody is there again, or somebody else."""
        gone = self.health.state is State.EJECTED and self.health.kind is End.GONE
        return (gone or bool(self.identity.wrong)) and now - self.looked_at >= self.health.rules.check

    def connected(self, now: float) -> bool:
        """Whether the request of its trial has reached an engine: where nothing had accepted connections, that was in doubt."""
        return self.watched is not None and self.watched.pulse(now).sent > self._sent_before_trial

    def silence(self, now: float) -> float:
        """For how many seconds it has had work without a byte coming from it."""
        return self.watched.pulse(now).silence if self.watched is not None else 0.0

    async def emptied(self) -> None:
        """Return when no request is with it."""
        while self.in_flight:
            self._emptied = self._emptied or asyncio.Event()
            await self._emptied.wait()


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
                _kept(made, before.get(name, ())) or self._replica(name, made) for made in self._engines.replicas(name)
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

    def _replica(self, engine: str, made: Made) -> Replica:
        spec, backend = made.spec, made.backend
        replica = Replica(
            spec.name,
            engine,
            spec.urls[0],
            spec,
            backend,
            relay=backend if isinstance(backend, Relay) else None,
            watched=backend if isinstance(backend, Watched) else None,
            health=ReplicaHealth(spec.health),
            standing=Standing(number_of(spec.urls[0])),
            draining=engine in self.drained,
        )
        replica.health.changed = lambda _: _tell(replica)
        if replica.watched is not None:
            replica.watched.on_drop(replica.identity.forget)
        return replica

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


def _tell(replica: Replica) -> None:
    """Log a change of state; what is out may come back as another."""
    health = replica.health
    report = health.report(asyncio.get_running_loop().time())
    fields: dict[str, object] = {"replica": replica.name, "url": replica.url, "state": health.state.value}
    if health.reason:
        fields["reason"] = health.reason
    if report.next_trial is not None:
        fields["next_trial"] = round(report.next_trial, 1)
    if health.state is State.EJECTED:
        replica.identity.forget()
        replica.standing.forget()
        log.warning("replica", **fields)
    else:
        log.info("replica", **fields)
