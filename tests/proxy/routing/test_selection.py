"""Between what is known of replicas and the policies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.base import EngineSpec, Gauges, ModelSpec
from backends.errors import Unavailable
from backends.types import Chat, Transcribe
from proxy.registry.models import ModelEntry, PolicyName, Target
from proxy.routing.fleet import Choice
from proxy.routing.health import ReplicaHealth
from proxy.routing.replica import Replica
from proxy.routing.selection import Selector, Wanted
from proxy.routing.standing import Standing
from tests.support import ScriptedBackend

SPEC = ModelSpec(source="m", name="m")
PROMPT = Chat(messages=({"role": "user", "content": "It was a dark and stormy night. " * 100},))


def choices(count: int, spec: ModelSpec = SPEC) -> list[Choice]:
    """So many replicas of one engine."""
    engine = EngineSpec(name="e", kind="vllm", urls=("http://127.0.0.1:1",))
    target = Target(engine="e", spec=spec)
    return [
        Choice(
            target,
            Replica(
                f"e#{number}",
                "e",
                "",
                engine,
                ScriptedBackend(lambda _: ()),
                relay=None,
                watched=None,
                health=ReplicaHealth(engine.health),
                standing=Standing(number),
            ),
        )
        for number in range(count)
    ]


def model(policy: PolicyName = "balanced", name: str = "m") -> ModelEntry:
    """A model of that engine."""
    return ModelEntry(name=name, engine="e", spec=SPEC, task="text", policy=policy)


def test_where_there_is_no_choice_nothing_is_looked_at() -> None:
    (only,) = choices(1)
    wanted = Wanted(PROMPT)

    assert Selector().choose(model(), [only], wanted, 0.0) is only
    assert wanted.chosen is only.replica
    assert only.replica.standing.ahead == 0


def test_a_prompt_is_work_for_the_replica_until_it_has_begun() -> None:
    several, selector = choices(2), Selector()
    wanted = Wanted(PROMPT)
    choice = selector.choose(model(), several, wanted, 0.0)
    standing = choice.replica.standing
    assert standing.ahead > 0
    again = Wanted(PROMPT)
    assert selector.choose(model(), several, again, 0.0) is choice  # what is ahead is the same prompt, and soon cached

    wanted.begun()
    again.begun()
    assert standing.ahead == 0


def test_a_request_that_goes_on_to_another_replica_is_work_there_and_no_more_here() -> None:
    several, selector = choices(2), Selector()
    wanted = Wanted(PROMPT)
    first = selector.choose(model(), several, wanted, 0.0)
    second = selector.choose(model(), [each for each in choices(2) if each is not first], wanted, 0.0)

    assert first.replica.standing.ahead == 0
    assert second.replica.standing.ahead > 0


def test_models_of_one_replica_do_not_share_prompts_and_turns() -> None:
    several, selector = choices(2), Selector()
    homes = [selector.choose(model(name=name), several, Wanted(PROMPT), 0.0) for name in ("m", "n")]

    assert homes[0] is not homes[1]
    in_turn = [selector.choose(model("round_robin", name), several, Wanted(), 0.0) for name in ("a", "b", "a", "b")]
    assert in_turn[0] is in_turn[1] is not in_turn[2] is in_turn[3]


def test_a_replica_that_has_begun_to_drain_gets_no_more() -> None:
    several, selector = choices(3), Selector()
    several[0].replica.draining = several[1].replica.draining = True
    assert {selector.choose(model("round_robin"), several, Wanted(), 0.0).replica.name for _ in range(6)} == {"e#2"}

    several[2].replica.draining = True
    with pytest.raises(Unavailable, match="takes new requests any more"):
        selector.choose(model(), several, Wanted(), 0.0)


@pytest.mark.parametrize("prompt", [Transcribe(audio=b"x" * 10_000), None])
def test_what_has_no_prompt_goes_by_the_load(prompt: Transcribe | None) -> None:
    several, selector = choices(3), Selector()
    several[0].replica.in_flight = several[2].replica.in_flight = 5

    assert selector.choose(model(), several, Wanted(prompt), 0.0) is several[1]


def test_an_adapter_goes_where_it_is_or_has_room() -> None:
    several = choices(3, replace(SPEC, source="law", adapter="adapters/law"))
    full = Gauges(max_adapters=1, adapters=frozenset({"poems"}))
    several[0].replica.standing.read(full, 0.0, 0)
    several[1].replica.standing.read(replace(full, adapters=frozenset({"law"}), running=50), 0.0, 0)
    several[2].replica.standing.read(full, 0.0, 0)
    selector = Selector()

    assert {selector.choose(model(), several, Wanted(), 0.0).replica.name for _ in range(6)} == {"e#1"}
    several[1].replica.standing.read(full, 0.0, 0)
    assert len({selector.choose(model(), several, Wanted(), 0.0).replica.name for _ in range(6)}) == 3
