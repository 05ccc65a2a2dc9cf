"""One base URL of an engine, with what is known of it now."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog

from backends.base import Backend, EngineSpec, Relay, Watched
from proxy.lifecycle.engines import Made
from proxy.routing.health import End, ReplicaHealth, State
from proxy.routing.identity import Identity
from proxy.routing.policy import number_of
from proxy.routing.standing import Standing

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


def replica_of(engine: str, made: Made, *, draining: bool) -> Replica:
    """A replica of which nothing is known yet, and whose changes of state are logged."""
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
        draining=draining,
    )
    replica.health.changed = lambda _: _tell(replica)
    if replica.watched is not None:
        replica.watched.on_drop(replica.identity.forget)
    return replica


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
