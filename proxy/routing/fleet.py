"""The replicas of all remote engines: one for each base URL, with what is known of it now."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from backends.base import Backend, Relay
from proxy.lifecycle.engines import Engines
from proxy.registry.models import ModelEntry, Target

SKIPPED_FOR = 3.0  # seconds for which a replica that refused a connection is left alone while others may be tried


@dataclass(slots=True, eq=False)
class Replica:
    """One base URL of an engine. relay: None where its dialect is not OpenAI's; away_until: on the loop's clock."""

    name: str
    engine: str
    backend: Backend
    relay: Relay | None
    in_flight: int = 0
    away_until: float = 0.0

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A request is with it until the block ends."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1


class Choice(NamedTuple):
    """Where a request goes, and what the model is called there."""

    target: Target
    replica: Replica


class Fleet:
    """Owner of the replicas."""

    def __init__(self, engines: Engines, names: Collection[str]) -> None:
        self._replicas = {name: _replicas(name, engines) for name in names}
        self._turn = 0

    def candidates(self, entry: ModelEntry) -> list[Choice]:
        """Every replica that serves the model; none for a model of this process."""
        targets = entry.targets or (Target(engine=entry.engine, spec=entry.spec),)
        return [Choice(target, replica) for target in targets for replica in self._replicas[target.engine]]

    def choose(self, candidates: list[Choice], now: float) -> Choice:
        """The one with least in flight; equals take turns. Replicas that are away only where all are."""
        if len(candidates) == 1:
            return candidates[0]
        self._turn += 1
        turn = self._turn % len(candidates)
        order = candidates[turn:] + candidates[:turn]
        here = [choice for choice in order if choice.replica.away_until <= now]
        return min(here or order, key=lambda choice: choice.replica.in_flight)


def _replicas(engine: str, engines: Engines) -> tuple[Replica, ...]:
    backends = engines.replicas(engine)
    several = len(backends) > 1
    return tuple(
        Replica(f"{engine}#{number}" if several else engine, engine, backend, _as_relay(backend))
        for number, backend in enumerate(backends, 1)
    )


def _as_relay(backend: object) -> Relay | None:
    return backend if isinstance(backend, Relay) else None
