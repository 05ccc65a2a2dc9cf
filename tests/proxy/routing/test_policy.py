"""Policies: pure, deterministic, and never with a replica that cannot take the request."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.registry.models import PolicyName
from proxy.routing.policy import POLICIES, WIDE, Ask, Candidate, choose, number_of, split

NAMES = list(POLICIES)
SESSIONS = [number_of(f"session {number}") for number in range(2000)]

loads = st.floats(0, 1000)
candidate = st.builds(
    Candidate,
    number=st.integers(0, 2**64 - 1),
    group=st.sampled_from("abc"),
    load=loads,
    in_flight=st.integers(0, 1000),
    ahead=st.integers(0, 1000),
    matched=st.integers(0, 256),
    uses=st.integers(0, 1000),
    kv=st.floats(0, 1),
    usable=st.booleans(),
    room=st.booleans(),
    priority=st.integers(0, 2),
    weight=st.none() | st.floats(0.01, 100),
)
ask = st.builds(
    Ask, turn=st.integers(0, 2**40), session=st.none() | st.sampled_from(SESSIONS), blocks=st.integers(0, 256)
)


def idle(count: int) -> list[Candidate]:
    """Replicas of one engine with nothing to do."""
    return [Candidate(number_of(str(number)), "e", 0.0) for number in range(count)]


def chosen(policy: PolicyName, candidates: list[Candidate], asked: Ask) -> int:
    """The index that a policy gives."""
    found = choose(POLICIES[policy], candidates, asked)
    assert found is not None
    return found


def test_every_policy_that_may_be_configured_is_there() -> None:
    assert set(POLICIES) == set(get_args(PolicyName))


@given(st.sampled_from(NAMES), st.lists(candidate, max_size=24), ask)
def test_only_what_can_take_the_request_is_chosen(policy: PolicyName, candidates: list[Candidate], asked: Ask) -> None:
    index = choose(POLICIES[policy], candidates, asked)

    able = [each for each in candidates if each.usable]
    if index is None:
        assert not able
        return
    found = candidates[index]
    assert found.usable
    assert found.priority == min(each.priority for each in able)
    first = [each for each in able if each.priority == found.priority]
    same = [each for each in first if each.group == found.group] if any(each.weight for each in first) else first
    assert found.room or not any(each.room for each in same)


@given(st.sampled_from(NAMES), st.lists(candidate, min_size=1, max_size=24), ask)
def test_the_same_question_has_the_same_answer(policy: PolicyName, candidates: list[Candidate], asked: Ask) -> None:
    assert choose(POLICIES[policy], candidates, asked) == choose(POLICIES[policy], [*candidates], asked)


@pytest.mark.parametrize("policy", NAMES)
def test_replicas_that_are_alike_are_used_alike(policy: PolicyName) -> None:
    counts = Counter(chosen(policy, idle(5), Ask(turn)) for turn in range(1000))

    assert min(counts.values()) >= (200 if policy != "power_of_two" else 140)


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=5), st.integers(0, 10**6))
def test_turns_are_shared_by_weight_from_any_turn_on(weights: list[float], start: int) -> None:
    shares = {str(number): weight for number, weight in enumerate(weights)}

    counts = Counter(split(shares, Ask(turn)) for turn in range(start, start + 1000))

    for name, weight in shares.items():
        assert abs(counts[name] - 1000 * weight / sum(weights)) <= 6


def test_sessions_are_shared_by_weight_and_stay() -> None:
    shares = {"old": 9.0, "new": 1.0, "other": 2.0}
    homes = {session: split(shares, Ask(0, session)) for session in SESSIONS}

    counts = Counter(homes.values())
    assert all(abs(counts[name] / len(SESSIONS) - weight / 12) < 0.03 for name, weight in shares.items())
    for session, home in homes.items():
        assert split(shares, Ask(7, session)) == home
        left = {name: weight for name, weight in shares.items() if name != "other"}
        assert split(left, Ask(0, session)) == (home if home != "other" else split(left, Ask(3, session)))


def test_round_robin_takes_each_in_turn() -> None:
    assert [chosen("round_robin", idle(3), Ask(turn)) for turn in range(6)] == [0, 1, 2, 0, 1, 2]


def test_least_in_flight_counts_what_was_sent_from_here() -> None:
    candidates = [each._replace(in_flight=count) for each, count in zip(idle(3), (2, 1, 3), strict=True)]

    assert {chosen("least_in_flight", candidates, Ask(turn)) for turn in range(9)} == {1}


def test_power_of_two_never_takes_the_busiest() -> None:
    candidates = [each._replace(load=float(load)) for each, load in zip(idle(4), (5, 9, 1, 3), strict=True)]
    counts = Counter(chosen("power_of_two", candidates, Ask(turn)) for turn in range(600))

    assert counts[1] == 0
    assert counts[2] > counts[3] > counts[0] > 0


def test_prefix_aware_follows_the_prompt_however_busy_its_replica_is() -> None:
    candidates = idle(3)
    candidates[1] = candidates[1]._replace(matched=4, load=500.0)

    assert chosen("prefix_aware", candidates, Ask(0, blocks=10)) == 1
    assert chosen("prefix_aware", candidates, Ask(0, blocks=20)) != 1  # a fifth of the prompt is little


@given(st.sampled_from(SESSIONS), st.integers(0, 4))
def test_a_session_moves_only_when_its_replica_goes(session: int, gone: int) -> None:
    home = chosen("session_affinity", idle(5), Ask(0, session))

    candidates = idle(5)
    candidates[gone] = candidates[gone]._replace(usable=False)

    assert (chosen("session_affinity", candidates, Ask(9, session)) == home) == (gone != home)


# --------------------------------------------------------------------------- balanced


def test_balanced_goes_where_the_prompt_is_while_that_is_less_to_do() -> None:
    candidates = [each._replace(load=4.0) for each in idle(3)]
    candidates[2] = candidates[2]._replace(matched=10, uses=1)
    assert chosen("balanced", candidates, Ask(0, blocks=10)) == 2

    candidates[2] = candidates[2]._replace(ahead=30)
    assert chosen("balanced", candidates, Ask(0, blocks=10)) != 2


def test_balanced_copies_a_prompt_that_many_send() -> None:
    candidates = [each._replace(load=2.0) for each in idle(2)]
    candidates[0] = candidates[0]._replace(matched=20, uses=1, ahead=10)
    assert chosen("balanced", candidates, Ask(0, blocks=20)) == 0

    candidates[0] = candidates[0]._replace(uses=100)
    assert chosen("balanced", candidates, Ask(0, blocks=20)) == 1


def test_balanced_leaves_a_crowded_replica_alone_whatever_it_has() -> None:
    candidates = [each._replace(load=3.0) for each in idle(4)]
    candidates[0] = candidates[0]._replace(matched=256, uses=1, load=30.0)

    assert chosen("balanced", candidates, Ask(0, blocks=256)) != 0


def test_balanced_avoids_a_full_cache() -> None:
    candidates = idle(2)
    candidates[0] = candidates[0]._replace(kv=0.99)

    assert {chosen("balanced", candidates, Ask(turn, blocks=4)) for turn in range(4)} == {1}


@given(st.sampled_from(SESSIONS), st.integers(0, 100))
def test_balanced_keeps_a_session_that_has_nothing_cached(session: int, turn: int) -> None:
    home = chosen("balanced", idle(4), Ask(0, session))
    busier = idle(4)
    busier[home] = busier[home]._replace(load=2.0)
    much_busier = idle(4)
    much_busier[home] = much_busier[home]._replace(load=2.5)

    assert chosen("balanced", busier, Ask(turn, session)) == home
    assert chosen("balanced", much_busier, Ask(turn, session)) != home


def test_balanced_finds_the_prompt_among_many_replicas_and_spreads_over_all() -> None:
    candidates = idle(WIDE * 4)
    assert len({chosen("balanced", candidates, Ask(turn, blocks=8)) for turn in range(1000)}) > WIDE * 3

    candidates[37] = candidates[37]._replace(matched=8, uses=1)
    assert {chosen("balanced", candidates, Ask(turn, blocks=8)) for turn in range(50)} == {37}
