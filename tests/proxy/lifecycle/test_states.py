"""What may follow what."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.lifecycle.states import State, Step, after

STEPS: tuple[Step, ...] = get_args(Step)


def test_a_models_life() -> None:
    life: tuple[Step, ...] = ("load", "failed", "load", "ready", "unload", "freed", "load")
    state, states = State.NOT_LOADED, []
    for step in life:
        state = after(state, step)
        states.append(str(state))
    assert states == ["loading", "error", "loading", "loaded", "unloading", "not_loaded", "loading"]


@given(st.sampled_from(State), st.sampled_from(STEPS))
def test_a_step_either_leads_on_or_is_refused(state: State, step: Step) -> None:
    try:
        assert after(state, step) is not state
    except ValueError as refused:
        assert state in str(refused)


@pytest.mark.parametrize("step", ["load", "ready", "failed"])
def test_nothing_loads_twice(step: Step) -> None:
    with pytest.raises(ValueError, match="loaded"):
        after(State.LOADED, step)
