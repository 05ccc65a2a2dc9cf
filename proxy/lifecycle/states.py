"""What may happen to a model, and what it is afterwards."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeAlias


class State(StrEnum):
    """Where a model is between disk and memory (contract 3, `ModelStatus.status`)."""

    NOT_LOADED = "not_loaded"
    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"
    ERROR = "error"


Step: TypeAlias = Literal["load", "ready", "failed", "unload", "freed", "lost"]

_NEXT: dict[tuple[State, Step], State] = {
    (State.NOT_LOADED, "load"): State.LOADING,
    (State.ERROR, "load"): State.LOADING,
    (State.LOADING, "ready"): State.LOADED,
    (State.LOADING, "failed"): State.ERROR,
    (State.LOADED, "unload"): State.UNLOADING,
    (State.LOADED, "lost"): State.ERROR,
    (State.UNLOADING, "freed"): State.NOT_LOADED,
}


def after(state: State, step: Step) -> State:
    """The state after a step. Raises ValueError for a step that cannot be taken from there."""
    if (state, step) not in _NEXT:
        raise ValueError(f"a model that is {state} cannot take the step {step!r}")
    return _NEXT[state, step]
