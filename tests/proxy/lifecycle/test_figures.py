"""What is measured of inferences."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.lifecycle.figures import RATE_SECONDS, Figures, percentile

SECONDS = st.floats(0.001, 100)


def test_nothing_measured_is_nothing_said() -> None:
    summary = Figures().summary(0.0)
    assert (summary.count, summary.error_rate, summary.rate) == (0, 0.0, 0.0)
    assert summary.mean is summary.p95 is summary.latest is None


@given(st.lists(SECONDS, min_size=1, max_size=200))
def test_figures_are_those_of_what_happened(durations: list[float]) -> None:
    figures = Figures()
    for number, seconds in enumerate(durations):
        figures.succeeded(seconds, now=float(number))
    summary = figures.summary(now=float(len(durations)))
    assert summary.count == len(durations)
    assert summary.mean == pytest.approx(statistics.fmean(durations))
    assert summary.latest == durations[-1]
    assert summary.p95 in durations
    assert sum(seconds <= summary.p95 for seconds in durations) >= 0.95 * len(durations)
    assert summary.rate == pytest.approx(min(len(durations), RATE_SECONDS) / RATE_SECONDS)


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_the_share_of_failures(failed: list[bool]) -> None:
    figures = Figures()
    for each in failed:
        figures.failed() if each else figures.succeeded(1.0, 0.0)
    assert figures.summary(0.0).error_rate == pytest.approx(sum(failed) / len(failed))


def test_the_window_is_bounded_and_the_count_is_not() -> None:
    figures = Figures(window=10)
    for number in range(100):
        figures.succeeded(1000.0 if number < 90 else 1.0, float(number))
    assert (figures.count, figures.summary(99.0).mean, figures.summary(99.0).p95) == (100, 1.0, 1.0)


def test_percentiles_are_values_that_were_there() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert percentile([1.0], 0.95) == 1.0
    assert percentile([float(n) for n in range(1, 101)], 0.95) == 95.0
