"""Every metric, declared once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from proxy.observability.call import Call

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

_SeriesKey: TypeAlias = "tuple[str, str, str, int]"


@dataclass(frozen=True, slots=True)
class _Series:
    """The metrics of one (contract, model, engine, status), looked up once: `labels()` costs more than counting."""

    requests: Counter
    first_byte: Histogram
    total: Histogram
    prompt_tokens: Counter
    completion_tokens: Counter
    broken: Counter


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
    """The proxy's Prometheus metrics, in a registry of their own (several apps may live in one process)."""

    def __init__(self, in_flight: Mapping[tuple[str, str], int]) -> None:
        self.registry = CollectorRegistry()
        by_model = ("model", "engine")
        self._requests = Counter(
            "switchboard_requests_total",
            "Requests by outcome; status 499 = the client left.",
            ("contract", *by_model, "status"),
            registry=self.registry,
        )
        self._first_byte = Histogram(
            "switchboard_first_byte_seconds",
            "From the request's head to the answer's first byte.",
            by_model,
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._total = Histogram(
            "switchboard_request_seconds",
            "From the request's head to the answer's last byte.",
            by_model,
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._tokens = Counter(
            "switchboard_tokens_total",
            "Tokens, where the engine tells them.",
            (*by_model, "kind"),
            registry=self.registry,
        )
        self._broken = Counter(
            "switchboard_broken_answers_total",
            "Answers that failed after their head, a status of 200, was out.",
            by_model,
            registry=self.registry,
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
        self._series: dict[_SeriesKey, _Series] = {}

    def record(self, call: Call) -> None:
        """Count a finished call."""
        key = (call.contract, call.model, call.engine, call.status)
        series = self._series.get(key) or self._new_series(key)
        series.requests.inc()
        series.total.observe(time.monotonic() - call.started)
        if call.first_byte_at is not None:
            series.first_byte.observe(call.first_byte_at - call.started)
        if call.error is not None and call.status == 200:
            series.broken.inc()
        # A counter refuses what is below zero by raising, and what engines tell is not to be trusted with that.
        series.prompt_tokens.inc(max(0, call.prompt_tokens or 0))
        series.completion_tokens.inc(max(0, call.completion_tokens or 0))

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

    def _new_series(self, key: _SeriesKey) -> _Series:
        contract, model, engine, status = key
        series = _Series(
            requests=self._requests.labels(contract, model, engine, str(status)),
            first_byte=self._first_byte.labels(model, engine),
            total=self._total.labels(model, engine),
            prompt_tokens=self._tokens.labels(model, engine, "prompt"),
            completion_tokens=self._tokens.labels(model, engine, "completion"),
            broken=self._broken.labels(model, engine),
        )
        self._series[key] = series
        return series
