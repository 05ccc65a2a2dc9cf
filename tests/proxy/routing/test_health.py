"""The state machine of a replica's health: what opens it, what closes it, and that somebody is always tried again."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pytest import approx

from backends.base import HealthRules
from proxy.routing.health import (
    ALONE_EVERY,
    AT_ONCE,
    JITTER,
    LONGEST_REST,
    End,
    ReplicaHealth,
    State,
    last_resort,
    ready,
)

RULES = HealthRules(failures=3, first_pause=1.0, longest_pause=60.0)
FAILURES = [End.GONE, End.SILENT, End.TIMEOUT, End.BROKEN, End.STATUS]


def fresh(jitter: float = 0.0) -> ReplicaHealth:
    return ReplicaHealth(RULES, lambda: jitter)


def send(health: ReplicaHealth, now: float, end: End, retry_after: float | None = None) -> None:
    """A whole request."""
    health.ended(now, health.began(now), end, "why", retry_after)


def admitted(replicas: list[ReplicaHealth], now: float, *, trials: bool = True) -> list[int]:
    """As a request is sent."""
    return [*(ready(replicas, now, trials=trials) or last_resort(replicas, now))]


def ejected(now: float = 0.0, kind: End = End.STATUS) -> ReplicaHealth:
    health = fresh()
    health.eject(now, kind, "why")
    return health


# --------------------------------------------------------------------------- what opens it


def test_failures_in_a_row_eject_and_one_success_between_them_does_not() -> None:
    health = fresh()
    for _ in range(10):
        send(health, 0, End.STATUS)
        send(health, 0, End.BROKEN)
        send(health, 0, End.OK)
    assert health.serving
    for _ in range(3):
        assert health.serving
        send(health, 0, End.TIMEOUT)
    assert (health.state, health.reason) == (State.EJECTED, "why")


@given(st.lists(st.sampled_from([End.NEUTRAL, End.OK]), max_size=200))
def test_a_storm_of_4xx_and_callers_who_leave_never_open_it(ends: list[End]) -> None:
    health = fresh()
    for now, end in enumerate(ends):
        send(health, now, end)
        assert health.serving


@given(st.sampled_from(sorted(AT_ONCE)))
def test_a_replica_that_is_gone_or_silent_is_out_at_once(kind: End) -> None:
    health = fresh()
    send(health, 0, kind)
    assert not health.may_serve(0.5)


def test_failures_of_one_outage_count_as_one() -> None:
    health = fresh()
    tickets = [health.began(0) for _ in range(20)]
    for ticket in tickets:
        health.ended(1, ticket, End.BROKEN)
    assert health.report(1).next_trial == 1.0
    for ticket in tickets[:1]:
        health.ended(2.5, ticket, End.BROKEN)
    assert health.may_serve(2.5)


# --------------------------------------------------------------------------- the way back


def test_exactly_one_request_finds_out() -> None:
    health = ejected()
    assert not health.may_serve(0.9)
    assert health.may_serve(1.0)
    ticket = health.began(1.0)
    assert not health.may_serve(1.0)
    assert not health.may_serve(1000.0)
    health.ended(1001.0, ticket, End.OK)
    assert health.serving


def test_the_first_byte_is_proof_enough() -> None:
    health = ejected()
    health.proved(0.5, health.epoch - 1)
    assert not health.serving
    health.proved(1.0, health.began(1.0))
    assert health.serving


@given(st.sampled_from(FAILURES), st.lists(st.floats(0, 1), min_size=12, max_size=12))
def test_each_failed_trial_makes_the_next_pause_longer_up_to_the_longest(kind: End, draws: list[float]) -> None:
    drawn = iter(draws)
    health = ReplicaHealth(RULES, lambda: next(drawn))
    now, pauses = 0.0, []
    health.eject(now, kind, "why")
    for _ in range(11):
        pause = health.report(now).next_trial
        assert pause is not None
        pauses.append(pause)
        now += pause
        assert health.may_serve(now + 1e-6)
        send(health, now, kind)
    assert 1.0 <= pauses[0] <= 1.0 + JITTER
    assert all(later > sooner or later == approx(60.0) for sooner, later in pairwise(pauses))
    assert pauses[-1] == approx(60.0)


def test_what_flaps_waits_longer_and_what_has_served_for_long_begins_anew() -> None:
    health = ejected(0.0, End.GONE)
    send(health, 1.0, End.OK)
    send(health, 2.0, End.GONE)
    assert health.report(2.0).next_trial == 2.0
    send(health, 4.0, End.OK)
    send(health, 64.0, End.GONE)
    assert health.report(64.0).next_trial == 1.0


@given(st.sampled_from([End.NEUTRAL, End.BUSY]))
def test_a_trial_that_shows_nothing_is_anothers_turn(end: End) -> None:
    health = ejected()
    send(health, 1.0, end, 0.0)
    assert (health.serving, health.may_serve(1.0)) == (False, True)


def test_a_full_replica_on_trial_is_asked_again_when_it_said() -> None:
    health = ejected()
    send(health, 1.0, End.BUSY, 7.0)
    assert (health.may_serve(7.9), health.may_serve(8.0), health.serving) == (False, True, False)


def test_a_whole_answer_to_an_older_request_brings_the_trial_forward_and_ends_nothing() -> None:
    health = fresh()
    old = health.began(0)
    health.eject(0, End.STATUS, "why")
    health.ended(0.1, old, End.OK)
    assert (health.serving, health.may_serve(0.1)) == (False, True)
    gone = fresh()
    old = gone.began(0)
    gone.eject(0, End.GONE, "why")
    gone.ended(0.1, old, End.OK)
    assert not gone.may_serve(0.1)


def test_only_what_refused_connections_profits_from_accepting_them() -> None:
    for kind in FAILURES:
        health = ejected(0.0, kind)
        health.hint(0.1)
        assert not health.serving
        assert health.may_serve(0.1) is (kind is End.GONE)


# --------------------------------------------------------------------------- full, not broken


@given(st.lists(st.none() | st.floats(0, 1e9), min_size=1, max_size=30))
def test_being_full_never_ejects(waits: list[float | None]) -> None:
    health = fresh()
    for wait in waits:
        send(health, 0, End.BUSY, wait)
        assert health.state in (State.SERVING, State.RESTING)
        assert admitted([health], 0) == [0]
    assert health.may_serve(LONGEST_REST)


def test_a_full_replica_is_left_alone_for_as_long_as_it_said_where_there_is_another() -> None:
    full, other = fresh(), fresh()
    send(full, 0, End.BUSY, 10.0)
    assert admitted([full, other], 9.9) == [1]
    assert admitted([full, other], 10.0) == [0, 1]
    other.eject(10.0, End.GONE, "why")
    send(full, 10.0, End.BUSY, 10.0)
    assert admitted([full, other], 10.5) == [0]


# --------------------------------------------------------------------------- among others


def test_a_trial_that_is_due_takes_the_next_request_and_only_that() -> None:
    well, back = fresh(), ejected()
    assert admitted([well, back], 0.5) == [0]
    assert admitted([well, back], 1.0, trials=False) == [0]
    assert admitted([well, back], 1.0) == [1]
    back.began(1.0)
    assert admitted([well, back], 100.0) == [0]


def test_where_all_are_out_each_is_tried_every_few_seconds() -> None:
    one, two = fresh(), fresh()
    for health in (one, two):
        for _ in range(8):
            health.eject(0.0, End.SILENT, "why")
    assert admitted([one, two], ALONE_EVERY - 0.1) == []
    assert admitted([one, two], ALONE_EVERY) == [0]
    one.began(ALONE_EVERY)
    assert admitted([one, two], ALONE_EVERY) == [1]
    two.began(ALONE_EVERY)
    assert admitted([one, two], ALONE_EVERY) == []
    assert one.alone_in(ALONE_EVERY + 1) == ALONE_EVERY - 1
    assert admitted([one, two], 2 * ALONE_EVERY) == [0]


class Replicas(RuleBasedStateMachine):
    """Three replicas, requests that overlap, and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.healths = [fresh(jitter) for jitter in (0.0, 0.3, 0.99)]
        self.flying: list[tuple[ReplicaHealth, int, bool]] = []

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(turn=st.integers(0, 2))
    def begin(self, turn: int) -> None:
        chosen = admitted(self.healths, self.now)
        if not chosen:
            return
        health = self.healths[chosen[turn % len(chosen)]]
        alone = not any(other.serving for other in self.healths)
        if health.out and not alone:
            assert not any(each is health and ticket == health.epoch for each, ticket, _ in self.flying)
        ticket = health.began(self.now)
        self.flying.append((health, ticket, health.out))

    @precondition(lambda self: self.flying)
    @rule(number=st.integers(0, 50), end=st.sampled_from(End), retry_after=st.none() | st.floats(0, 100))
    def end(self, number: int, end: End, retry_after: float | None) -> None:
        health, ticket, trial = self.flying.pop(number % len(self.flying))
        was_out = health.out
        health.ended(self.now, ticket, end, "why", retry_after)
        if was_out and health.serving:
            assert trial, "only a trial ends being out"
            assert end is End.OK
        if end in (End.NEUTRAL, End.OK, End.BUSY):
            assert was_out or not health.out

    @invariant()
    def somebody_is_tried_soon(self) -> None:
        if not admitted(self.healths, self.now):
            assert all(health.out for health in self.healths)
            assert min(health.alone_in(self.now) for health in self.healths) <= ALONE_EVERY + 1e-6

    @invariant()
    def what_is_shown_is_so(self) -> None:
        for health in self.healths:
            report = health.report(self.now)
            assert health.serving is (report.state is State.SERVING)
            assert report.since <= self.now
            assert report.next_trial is None or 0 <= report.next_trial <= max(RULES.longest_pause, LONGEST_REST, 100)


TestReplicas = Replicas.TestCase


def test_changes_are_told_and_trials_in_vain_are_none() -> None:
    health = fresh()
    seen: list[State] = []
    health.changed = lambda it: seen.append(it.state)
    send(health, 0, End.GONE)
    send(health, 1, End.NEUTRAL)
    send(health, 1, End.OK)
    send(health, 2, End.BUSY)
    assert health.may_serve(10)
    assert seen == ["ejected", "serving", "resting", "serving"]
