"""What metrics show of the replicas, asked at each scrape."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.observability.metrics import Metrics
from proxy.routing.fleet import Fleet, Replica

LABELS = ("engine", "replica")
DRAINING = "draining"


def show_fleet(metrics: Metrics, fleet: Fleet) -> None:
    """Have the metrics show every replica: what is with it, and the state that it is in."""

    def in_flight() -> Iterable[tuple[tuple[str, ...], float]]:
        return [((each.engine, each.name), float(each.in_flight)) for each in fleet.all()]

    def states() -> Iterable[tuple[tuple[str, ...], float]]:
        return [((each.engine, each.name, state(each)), 1.0) for each in fleet.all()]

    metrics.watch_all("switchboard_replica_in_flight", "Requests with a replica.", LABELS, in_flight)
    metrics.watch_all(
        "switchboard_replica_state",
        "1 for the state that a replica is in: serving, resting, ejected, trial, draining.",
        (*LABELS, "state"),
        states,
    )


def state(replica: Replica) -> str:
    """The state of a replica in one word: what an operator has said comes before what requests have shown."""
    return DRAINING if replica.draining else replica.health.state.value
