"""Which replicas may get a request, among engines of several priorities."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

import backends
from backends.base import EngineSpec, HealthRules, ModelSpec
from proxy.lifecycle.engines import Engines
from proxy.registry.models import ModelEntry, Registry, Target
from proxy.routing.candidates import allowed, none_serves, trouble
from proxy.routing.fleet import Choice, Fleet
from proxy.routing.health import ALONE_EVERY, End, State

MODEL = ModelSpec(source="served", name="m")


def choices_of(*priorities: int) -> tuple[ModelEntry, Sequence[Choice]]:
    """A model on as many engines, each of one replica."""
    engines = {
        f"e{number}": EngineSpec(name=f"e{number}", kind="vllm", urls=("http://127.0.0.1:9",), health=HealthRules())
        for number in range(len(priorities))
    }
    targets = tuple(
        Target(engine=name, spec=MODEL, priority=priority) for name, priority in zip(engines, priorities, strict=True)
    )
    entry = ModelEntry(name="m", engine="e0", spec=MODEL, task="text", targets=targets)
    fleet = Fleet(Engines(engines, backends.create), Registry(engines=engines, models=(entry,)))
    return entry, fleet.candidates(entry)


def names(choices: Sequence[Choice]) -> list[str]:
    return [choice.replica.name for choice in choices]


async def test_a_trial_is_of_the_priority_whose_turn_it_is() -> None:
    _, choices = choices_of(0, 0, 1)
    for choice in choices[1:]:
        choice.replica.health.eject(0.0, End.STATUS, "why")
    assert names(allowed(choices, 0.5)) == ["e0"]
    assert names(allowed(choices, 2.0)) == ["e1"]
    assert names(allowed(choices, 2.0, again=True)) == ["e0"]
    choices[0].replica.health.eject(2.0, End.STATUS, "why")
    choices[1].replica.health.eject(2.0, End.STATUS, "why")
    assert names(allowed(choices, 2.5)) == ["e2"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["serving", "resting", "gone", "wrong"]), st.integers(0, 2)), min_size=1, max_size=5
    ),
    st.booleans(),
)
async def test_nobody_wrong_or_out_is_asked_while_another_serves(replicas: list[tuple[str, int]], again: bool) -> None:
    entry, choices = choices_of(*(priority for _, priority in replicas))
    for choice, (state, _) in zip(choices, replicas, strict=True):
        health = choice.replica.health
        if state == "resting":
            health.ended(0.0, health.began(0.0), End.BUSY, "full", 30.0)
        elif state == "gone":
            health.eject(0.0, End.GONE, "why")
        elif state == "wrong":
            choice.replica.identity.wrong["served"] = "it serves `other`"
    kinds = {choice.replica: state for choice, (state, _) in zip(choices, replicas, strict=True)}
    asked = [kinds[choice.replica] for choice in allowed(choices, 0.1, again=again)]
    present = {state for state, _ in replicas}
    if "serving" in present:
        assert set(asked) == {"serving"}
    else:
        assert set(asked) <= {"resting"}
        assert bool(asked) == ("resting" in present and not again)
    assert (trouble(entry, choices, 0.1) is None) == bool(present & {"serving", "resting"})


async def test_what_is_said_where_none_may() -> None:
    entry, choices = choices_of(0, 0, 0)
    one, two, three = (choice.replica for choice in choices)
    one.health.eject(0.0, End.GONE, "it accepts no connection")
    two.identity.wrong["served"] = "it serves `other`, not `served`"
    three.health.eject(-9.0, End.STATUS, "it answered 500")
    three.began(0.0)
    assert three.health.state is State.TRIAL
    error = none_serves(entry, choices, 0.0)
    assert error.message.startswith(
        "No replica of `m` can serve now: e0 (ejected: it accepts no connection, next trial in 1"
    )
    assert "e1 (it serves `other`, not `served`), e2 (on trial: it answered 500)." in error.message
    assert error.retry_after is not None and 1 <= error.retry_after <= ALONE_EVERY
