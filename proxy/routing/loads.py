"""What is with each replica on /metrics, and whether an operator keeps requests from it."""

from __future__ import annotations

import asyncio
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

    def served() -> Iterable[tuple[tuple[str, ...], float]]:
        return [((each.engine, each.name), float(each.served)) for each in fleet.all()]

    def figures() -> Iterable[tuple[tuple[str, ...], float]]:
        for each in fleet.all():
            if (reading := each.standing.reading) is not None:
                told = {
                    "waiting": reading.gauges.waiting,
                    "running": reading.gauges.running,
                    "cache": reading.gauges.kv,
                }
                for figure, value in told.items():
                    if value is not None:
                        yield (each.engine, each.name, figure), value

    def age() -> Iterable[tuple[tuple[str, ...], float]]:
        now = asyncio.get_running_loop().time()
        for each in fleet.all():
            if (reading := each.standing.reading) is not None:
                yield (each.engine, each.name), now - reading.at

    metrics.count_all("switchboard_replica_requests_total", "Requests that a replica was sent.", LABELS, served)
    metrics.watch_all(
        "switchboard_replica_figures",
        "What a replica's engine said last: waiting and running requests, part of its cache in use.",
        (*LABELS, "figure"),
        figures,
    )
    metrics.watch_all("switchboard_replica_figures_age_seconds", "How long ago that was.", LABELS, age)
    metrics.watch_all("switchboard_replica_in_flight", "Requests with a replica.", LABELS, in_flight)
    metrics.watch_all("switchboard_replica_draining", "1 for a replica that gets no new requests.", LABELS, draining)
