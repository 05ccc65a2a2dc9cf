"""How deeply an idle engine sleeps, and how long one that fails has to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.lifecycle.resting import LONGEST_PAUSE, STABLE_SECONDS, Failures, Level, depth


@pytest.mark.parametrize(
    ("deepest", "able", "held", "host", "pressed", "level"),
    [
        (0, True, 10.0, 99.0, False, 0),
        (1, False, 10.0, 99.0, False, 0),
        (1, True, 10.0, 5.0, False, 1),
        (1, True, 10.0, 99.0, True, 0),
        (2, True, 10.0, 99.0, False, 1),
        (2, True, 10.0, 5.0, False, 2),
        (2, True, 10.0, 99.0, True, 2),
        (2, True, None, 99.0, False, 2),
        (2, False, 10.0, 99.0, False, 0),
    ],
)
def test_as_deep_as_is_allowed_and_no_deeper_than_the_host_has_room_for(
    deepest: Level, able: bool, held: float | None, host: float, pressed: bool, level: Level
) -> None:
    assert depth(deepest, able=able, held_mb=held, host_mb=host, pressed=pressed) == level


def test_the_first_failure_costs_nothing_and_each_further_one_twice_as_much() -> None:
    failures, pauses = Failures(), []
    for _ in range(12):
        failures = failures.another(100.0, 0.0)
        pauses.append(failures.wait(100.0))
    assert pauses == [0, 2, 4, 8, 16, 32, 64, 128, 256, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert failures.another(1000.0, STABLE_SECONDS) == Failures(1, 1000.0)


@given(st.integers(0, 10_000), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_pause_has_an_end(count: int, last: float, later: float) -> None:
    failures = Failures(count, last)
    assert 0 <= failures.wait(last + later) <= LONGEST_PAUSE
    assert failures.wait(last + LONGEST_PAUSE + 1) == 0
