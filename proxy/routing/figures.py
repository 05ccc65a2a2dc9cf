"""The replicas' health on /metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from proxy.observability.metrics import Metrics
from proxy.routing.attempts import Attempts
from proxy.routing.fleet import Fleet

LABELS = ("engine", "replica")
Rows: TypeAlias = "Iterable[tuple[tuple[str, ...], float]]"


def show_health(metrics: Metrics, fleet: Fleet, attempts: Attempts) -> None:
    """Have these figures in the metrics, read at each scrape."""

    def states() -> Rows:
        return [((each.engine, each.name, each.health.state.value), 1.0) for each in fleet.all()]

    def wrong() -> Rows:
        return [((each.engine, each.name), float(len(each.identity.wrong))) for each in fleet.all()]

    def ejections() -> Rows:
        for replica in fleet.all():
            for kind, count in replica.health.ejections.items():
                yield (replica.engine, replica.name, kind.value), float(count)

    def repeats() -> Rows:
        for kind, counts in (("retry", attempts.retries), ("hedge", attempts.hedges)):
            for engine, count in counts.items():
                yield (engine, kind), float(count)

    metrics.watch_all(
        "switchboard_replica_state",
        "1 for the state that a replica is in: serving, resting, ejected, trial.",
        (*LABELS, "state"),
        states,
    )
    metrics.watch_all(
        "switchboard_replica_wrong_models", "Models that a replica should serve, and does not.", LABELS, wrong
    )
    metrics.count_all(
        "switchboard_replica_ejections_total",
        "How often a replica was taken out, by why: gone, silent, timeout, broken, status.",
        (*LABELS, "reason"),
        ejections,
    )
    metrics.count_all(
        "switchboard_repeated_requests_total",
        "Requests that an engine had seen and that were sent to another replica, too: retry, hedge.",
        ("engine", "kind"),
        repeats,
    )
