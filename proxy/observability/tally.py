"""What finished calls add up to, kept as plain numbers: prometheus_client's own counters take a lock for each."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector

from proxy.observability.call import Call

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

Labelled: TypeAlias = "tuple[tuple[str, ...], float]"


class Spread:
    """How often durations were seen, by bucket; and all of them together, in seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BUCKETS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """How many were no longer than each bound, as Prometheus has them."""
        seen, buckets = 0, []
        for bound, count in zip((*LATENCY_BUCKETS, float("inf")), self.counts, strict=True):
            seen += count
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), float(seen)))
        return buckets


@dataclass(slots=True)
class _Model:
    """Of one (model, engine)."""

    total: Spread = field(default_factory=Spread)
    first_byte: Spread = field(default_factory=Spread)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    broken: int = 0


@dataclass(slots=True)
class _Series:
    """Of one (contract, model, engine, status), found at one look-up."""

    model: _Model
    requests: int = 0


class Tally:
    """Owner of the numbers."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str, int], _Series] = {}
        self._models: dict[tuple[str, str], _Model] = {}

    def add(self, call: Call) -> None:
        """Count a finished call."""
        key = (call.contract, call.model, call.engine, call.status)
        series = self._series.get(key)
        if series is None:
            model = self._models.setdefault((call.model, call.engine), _Model())
            series = self._series[key] = _Series(model)
        series.requests += 1
        model = series.model
        model.total.add(time.monotonic() - call.started)
        if call.first_byte_at is not None:
            model.first_byte.add(call.first_byte_at - call.started)
        if call.error is not None and call.status == 200:
            model.broken += 1
        # What engines tell is not to be trusted with making a counter fall.
        model.prompt_tokens += max(0, call.prompt_tokens or 0)
        model.completion_tokens += max(0, call.completion_tokens or 0)

    def requests(self) -> Iterable[Labelled]:
        """By contract, model, engine and status."""
        for (*labels, status), series in self._series.items():
            yield (*labels, str(status)), series.requests

    def tokens(self) -> Iterable[Labelled]:
        """By model, engine and kind."""
        for labels, model in self._models.items():
            yield (*labels, "prompt"), model.prompt_tokens
            yield (*labels, "completion"), model.completion_tokens

    def broken(self) -> Iterable[Labelled]:
        """By model and engine."""
        for labels, model in self._models.items():
            yield labels, model.broken

    def total(self) -> Iterable[tuple[tuple[str, ...], Spread]]:
        """By model and engine."""
        for labels, model in self._models.items():
            yield labels, model.total

    def first_byte(self) -> Iterable[tuple[tuple[str, ...], Spread]]:
        """By model and engine."""
        for labels, model in self._models.items():
            yield labels, model.first_byte


class Histograms(Collector):
    """Durations by model and engine, read from their owner at each scrape."""

    def __init__(self, name: str, what: str, read: Callable[[], Iterable[tuple[tuple[str, ...], Spread]]]) -> None:
        self._name = name
        self._what = what
        self._read = read

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._what, labels=("model", "engine"))
        for labels, spread in self._read():
            family.add_metric(labels, spread.buckets(), spread.sum)
        yield family
