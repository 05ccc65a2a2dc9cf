"""Figures out of Prometheus' text format."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from backends.remote.prometheus import samples, total


def test_only_the_metric_of_just_that_name_counts() -> None:
    text = b'# HELP a b a 7\na_total 1\nb_a 2\na 3\na{x="1"} 4 1700000000000\n a 5\n'

    assert list(samples(text, "a")) == [({}, 3.0), ({"x": "1"}, 4.0)]
    assert total(text, "c", "a") == 7.0
    assert total(text, "c") is None


def test_labels_may_hold_whatever_is_quoted() -> None:
    text = rb'a{name="x} 1",other="say \"hi\", {you}"} 2' + b"\n"

    assert list(samples(text, "a")) == [({"name": "x} 1", "other": r"say \"hi\", {you}"}, 2.0)]


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "", "many", "0x10"])
def test_what_is_no_number_is_left_out(value: str) -> None:
    assert total(f"a {value}\n".encode(), "a") is None


@given(st.binary(max_size=300), st.sampled_from(["a", "vllm:x"]))
def test_no_text_is_too_strange(text: bytes, name: str) -> None:
    for labels, value in samples(b"a" + text + b"\nvllm:x{" + text, name):
        assert isinstance(labels, dict)
        assert math.isfinite(value)


@given(
    st.lists(
        st.tuples(st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False)),
        min_size=1,
        max_size=5,
        unique_by=lambda pair: pair[0],
    )
)
def test_what_the_client_library_writes_is_read(series: list[tuple[str, float]]) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("ours", "What it is.\nourselves 3", ("which",), registry=registry)
    Histogram("ours_seconds", "Beside it.", registry=registry).observe(1)
    Counter("ours_too", "Beside it.", registry=registry).inc()
    for label, value in series:
        gauge.labels(label).set(value)

    found = [value for _, value in samples(generate_latest(registry), "ours")]

    assert found == [value for _, value in series]
