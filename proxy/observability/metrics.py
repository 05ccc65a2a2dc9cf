"""Every metric, declared once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from proxy.observability.call import Call
from proxy.observability.tally import LATENCY_BUCKETS, Histograms, Tally


class _Read(Collector):
    """A gauge, or a counter, with labels, read from its owner at each scrape instead of being told twice a request."""

    def __init__(
        self,
        family: type[GaugeMetricFamily | CounterMetricFamily],
        name: str,
        what: str,
        labels: Sequence[str],
        read: Callable[[], Iterable[tuple[tuple[str, ...], float]]],
    ) -> None:
        self._family = family
        self._name = name
        self._what = what
        self._labels = labels
        self._read = read

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        family = self._family(self._name, self._what, labels=self._labels)
        for labels, value in self._read():
            family.add_metric(labels, value)
        yield family


class Metrics:
    """The proxy's Prometheus metrics, in a registry of their own (several apps may live in one process).

    record: counts a finished call.
    """

    def __init__(self, in_flight: Mapping[tuple[str, str], int]) -> None:
        self.registry = CollectorRegistry()
        by_model = ("model", "engine")
        tally = Tally()
        self.record = tally.add
        self.count_all(
            "switchboard_requests_total",
            "Requests by outcome; status 499 = the client left.",
            ("contract", *by_model, "status"),
            tally.requests,
        )
        self.count_all(
            "switchboard_tokens_total", "Tokens, where the engine tells them.", (*by_model, "kind"), tally.tokens
        )
        self.count_all(
            "switchboard_broken_answers_total",
            "Answers that failed after their head, a status of 200, was out.",
            by_model,
            tally.broken,
        )
        self.registry.register(
            Histograms(
                "switchboard_first_byte_seconds",
                "From the request's head to the answer's first byte.",
                tally.first_byte,
            )
        )
        self.registry.register(
            Histograms(
                "switchboard_request_seconds",
                "From the request's head to the answer's last byte.",
                tally.total,
            )
        )
        self._queued = Histogram(
            "switchboard_queue_seconds",
            "How long requests waited that had to wait for a slot and got one.",
            by_model,
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._shed = Counter(
            "switchboard_shed_total",
            "Requests sent away, by why: quota, share, full, memory, late.",
            (*by_model, "reason"),
            registry=self.registry,
        )
        self._reloads = Counter(
            "switchboard_reloads_total",
            "Reloads of the configuration, by outcome: reloaded, unchanged, refused.",
            ("outcome",),
            registry=self.registry,
        )
        self.watch_all("switchboard_in_flight", "Requests being served, or waiting for it.", by_model, in_flight.items)

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Show a figure, asked of its owner at each scrape."""
        Gauge(name, what, registry=self.registry).set_function(value)

    def watch_all(
        self, name: str, what: str, labels: Sequence[str], read: Callable[[], Iterable[tuple[tuple[str, ...], float]]]
    ) -> None:
        """Show figures by labels, asked of their owner at each scrape."""
        self.registry.register(_Read(GaugeMetricFamily, name, what, labels, read))

    def count_all(
        self, name: str, what: str, labels: Sequence[str], read: Callable[[], Iterable[tuple[tuple[str, ...], float]]]
    ) -> None:
        """Show figures that only grow, likewise."""
        self.registry.register(_Read(CounterMetricFamily, name, what, labels, read))

    def waited(self, call: Call) -> None:
        """Count a call that got a slot after it had waited."""
        self._queued.labels(call.model, call.engine).observe(call.queued)

    def shed(self, call: Call, reason: str) -> None:
        """Count a call that was sent away."""
        self._shed.labels(call.model, call.engine, reason).inc()

    def reloaded(self, outcome: str) -> None:
        """Count a reload of the configuration."""
        self._reloads.labels(outcome).inc()

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
