"""What is with each replica on /metrics, and whether an operator keeps requests from it."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.observability.metrics import Metrics
from proxy.routing.fleet import Fleet

LABELS = ("engine", "replica")


def show_loads(metrics: Metrics, fleet: Fleet) -> None:
    """Have these figures in the metrics, read at each scrape."""

    def in_flight() -> Iterable[tuple[tuple[str, ...], float]]:
        return [((each.engine, each.name), float(each.in_flight)) for each in fleet.all()]

    def draining() -> Iterable[tuple[tuple[str, ...], float]]:
        return [((each.engine, each.name), float(each.draining)) for each in fleet.all()]

    metrics.watch_all("switchboard_replica_in_flight", "Requests with a replica.", LABELS, in_flight)
    metrics.watch_all("switchboard_replica_draining", "1 for a replica that gets no new requests.", LABELS, draining)
