"""Which models load and which go: rules one by one, whatever the situation, and over any story."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from backends.base import ModelSpec
from proxy.lifecycle.scheduler import (
    PATIENCE,
    PROMOTED_AFTER,
    Key,
    Limits,
    Plan,
    Policy,
    Priority,
    Resident,
    Waiting,
    in_line,
    leaving_order,
    plan,
)

POLICIES: tuple[Policy, ...] = ("lru", "lfu", "ttl")
PRIORITIES: tuple[Priority, ...] = ("low", "normal", "high")
LASTING = Limits(places=2, idle=None)


def key(name: str) -> Key:
    return Key("engine", ModelSpec(source=name))


def loaded(name: str, **facts: object) -> Resident:
    return replace(Resident(key=key(name), state="loaded"), **facts)  # type: ignore[arg-type]


def wants(name: str, since: float = 0.0, priority: Priority = "normal", *, pinned: bool = False) -> Waiting:
    return Waiting(key=key(name), since=since, priority=priority, pinned=pinned)


def names(keys: object) -> list[str]:
    assert isinstance(keys, tuple | frozenset)
    return sorted(key.model.source for key in keys)


def test_one_model_at_a_time_comes_into_memory_while_others_download() -> None:
    first = Resident(key=key("a"), state="loading")
    assert plan([first], [wants("b")], LASTING, 0.0).start == ()
    assert names(plan([replace(first, downloading=True)], [wants("b")], LASTING, 0.0).start) == ["b"]


def test_when_all_places_are_taken_the_least_recently_used_goes() -> None:
    here = [loaded("old", used_at=1.0), loaded("new", used_at=2.0)]
    decision = plan(here, [wants("c", 3.0)], LASTING, 3.0)
    assert (names(decision.evict), decision.start) == (["old"], ())


@pytest.mark.parametrize(("policy", "first"), [("lru", "a"), ("lfu", "b"), ("ttl", "c")])
def test_each_policy_has_its_own_order(policy: Policy, first: str) -> None:
    residents = [
        loaded("a", used_at=1.0, uses=9, loaded_at=0.9),
        loaded("b", used_at=5.0, uses=1, loaded_at=0.8),
        loaded("c", used_at=6.0, uses=5, loaded_at=0.1),
    ]
    assert leaving_order(residents, policy)[0].key == key(first)


def test_one_in_use_never_goes_and_a_pinned_one_neither() -> None:
    here = [loaded("a", busy=True), loaded("b", busy=True), loaded("p", pinned=True)]
    decision = plan(here, [wants("c", 0.0)], LASTING, 1.0)
    assert (decision.evict, decision.start, decision.drain) == ((), (), frozenset())
    assert decision.again == PATIENCE


def test_pinned_models_take_no_place() -> None:
    here = [loaded("p", pinned=True), loaded("q", pinned=True), loaded("a")]
    assert names(plan(here, [wants("b")], LASTING, 0.0).start) == ["b"]
    full = [loaded("a", busy=True), loaded("b", busy=True)]
    assert names(plan(full, [wants("p", pinned=True)], LASTING, 0.0).start) == ["p"]


def test_one_that_goes_already_makes_room_for_one() -> None:
    here = [loaded("a"), Resident(key=key("b"), state="unloading")]
    assert plan(here, [wants("c")], LASTING, 0.0) == Plan(again=PATIENCE)
    assert names(plan(here, [wants("c"), wants("d", 0.1)], LASTING, 0.2).evict) == ["a"]


def test_who_waits_long_has_a_busy_model_drained_and_always_the_same() -> None:
    here = [loaded("a", busy=True, used_at=1.0), loaded("b", busy=True, used_at=2.0)]
    assert plan(here, [wants("c", 0.0)], LASTING, PATIENCE - 0.1).drain == frozenset()
    assert names(plan(here, [wants("c", 0.0)], LASTING, PATIENCE).drain) == ["a"]
    # A request of `a` has ended meanwhile, so that `b` would be the next; `a` is drained on.
    here = [replace(here[0], used_at=9.0, draining=True), here[1]]
    assert names(plan(here, [wants("c", 0.0)], LASTING, 10.0).drain) == ["a"]
    assert names(plan([replace(here[0], busy=False), here[1]], [wants("c", 0.0)], LASTING, 10.0).evict) == ["a"]


def test_what_nobody_uses_goes_when_its_time_is_up() -> None:
    here = [loaded("a", used_at=0.0), loaded("b", used_at=5.0), loaded("p", pinned=True), loaded("u", busy=True)]
    limits = Limits(places=3, idle=10.0)
    assert plan(here, [], limits, 9.9) == Plan(again=10.0)
    assert plan(here, [], limits, 10.0) == Plan(expire=(key("a"),), again=15.0)
    assert plan(here, [], replace(limits, idle=None), 1e9) == Plan()


def test_an_important_load_comes_first_and_nobody_waits_for_ever() -> None:
    line = [wants("low", 0.0, "low"), wants("normal", 1.0), wants("high", 2.0, "high")]
    assert [load.key.model.source for load in in_line(line, 2.0)] == ["high", "normal", "low"]
    late = [line[0], wants("new", 2 * PROMOTED_AFTER, "high")]
    assert in_line(late, 2 * PROMOTED_AFTER)[0] is line[0]


NAMES = [f"m{number}" for number in range(6)]
MOMENTS = st.floats(0, 100)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Resident], list[Waiting], Limits, float]:
    here = draw(st.lists(st.sampled_from(NAMES), unique=True))
    residents = [
        Resident(
            key=key(name),
            state=draw(st.sampled_from(["loading", "loaded", "unloading"])),
            busy=draw(st.booleans()),
            pinned=draw(st.booleans()),
            draining=draw(st.booleans()),
            downloading=draw(st.booleans()),
            loaded_at=draw(MOMENTS),
            used_at=draw(MOMENTS),
            uses=draw(st.integers(0, 9)),
        )
        for name in here
    ]
    line = [
        wants(name, draw(MOMENTS), draw(st.sampled_from(PRIORITIES)), pinned=draw(st.booleans()))
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True))
    ]
    limits = Limits(
        places=draw(st.integers(1, 4)),
        policy=draw(st.sampled_from(POLICIES)),
        idle=draw(st.none() | st.floats(0.1, 100)),
    )
    return residents, line, limits, draw(st.floats(100, 200))


@given(situations())
def test_whatever_the_situation(situation: tuple[list[Resident], list[Waiting], Limits, float]) -> None:
    residents, line, limits, now = situation
    decision = plan(residents, line, limits, now)
    spare = {resident.key for resident in residents if resident.spare}
    taken = sum(not resident.pinned for resident in residents)
    pinned = {load.key for load in line if load.pinned}
    assert {*decision.evict, *decision.expire} <= spare
    assert not set(decision.evict) & set(decision.expire)
    assert set(decision.start) <= {load.key for load in line} - {resident.key for resident in residents}
    assert len(decision.start) <= 1
    assert not decision.start or decision.start[0] in pinned or taken < limits.places
    assert decision.drain <= {r.key for r in residents if r.busy and not r.pinned and r.state == "loaded"}
    assert decision.again is None or decision.again > now


class Story(RuleBasedStateMachine):
    """Requests come and go, loads end, time passes: against a plain list of what must hold."""

    @initialize(places=st.integers(1, 3), policy=st.sampled_from(POLICIES), idle=st.none() | st.just(30.0))
    def begin(self, places: int, policy: Policy, idle: float | None) -> None:
        self.limits = Limits(places=places, policy=policy, idle=idle)
        self.now = 0.0
        self.here: dict[Key, Resident] = {}
        self.users: dict[Key, int] = {}
        self.line: dict[Key, Waiting] = {}

    @rule(name=st.sampled_from(NAMES), priority=st.sampled_from(PRIORITIES), pinned=st.booleans())
    def ask(self, name: str, priority: Priority, pinned: bool) -> None:
        """A request comes: it runs at once, or waits for a load."""
        model = key(name)
        resident = self.here.get(model)
        if resident is not None and resident.state == "loaded" and not resident.draining:
            self.users[model] = self.users.get(model, 0) + 1
            self.here[model] = replace(resident, busy=True, uses=resident.uses + 1)
        elif resident is None:
            self.line.setdefault(model, Waiting(key=model, since=self.now, priority=priority, pinned=pinned))
        self.obey()

    @precondition(lambda self: any(self.users.values()))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """A request ends."""
        model = data.draw(st.sampled_from([model for model, count in self.users.items() if count]))
        self.users[model] -= 1
        self.here[model] = replace(self.here[model], busy=bool(self.users[model]), used_at=self.now)
        self.obey()

    @precondition(lambda self: any(resident.state != "loaded" for resident in self.here.values()))
    @rule(data=st.data(), fails=st.booleans())
    def arrive(self, data: st.DataObject, fails: bool) -> None:
        """A load or an unload ends."""
        model = data.draw(st.sampled_from([m for m, resident in self.here.items() if resident.state != "loaded"]))
        resident = self.here.pop(model)
        if resident.state == "loading" and not fails:
            self.here[model] = replace(resident, state="loaded", loaded_at=self.now, used_at=self.now)
        self.obey()

    @rule(seconds=st.floats(0.1, 40))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        self.obey()

    def obey(self) -> None:
        """Do what the plan says, until it says nothing more."""
        for _ in range(20):
            decision = plan(list(self.here.values()), list(self.line.values()), self.limits, self.now)
            for model, resident in self.here.items():
                self.here[model] = replace(resident, draining=model in decision.drain)
            for model in (*decision.evict, *decision.expire):
                assert not self.users.get(model)
                self.here[model] = replace(self.here[model], state="unloading")
            for model in decision.start:
                waiting = self.line.pop(model)
                self.here[model] = Resident(key=model, state="loading", pinned=waiting.pinned)
            if not (decision.start or decision.evict or decision.expire):
                return
        raise AssertionError("the plan never comes to rest")

    @invariant()
    def within_the_places(self) -> None:
        """Never more models than places, pinned ones apart, and never two on their way into memory."""
        if hasattr(self, "here"):
            assert sum(not resident.pinned for resident in self.here.values()) <= self.limits.places
            assert sum(resident.state == "loading" for resident in self.here.values()) <= 1

    def teardown(self) -> None:
        """Once every request ends, everyone who waits gets a turn: nothing is stuck."""
        if not hasattr(self, "here"):
            return
        for _ in range(100):
            if not self.line and all(resident.state == "loaded" for resident in self.here.values()):
                return
            for model in self.users:
                self.users[model] = 0
            for model, resident in list(self.here.items()):
                if resident.state == "unloading":
                    del self.here[model]
                elif resident.state == "loading":
                    self.here[model] = replace(resident, state="loaded", loaded_at=self.now, used_at=self.now)
                else:
                    self.here[model] = replace(resident, busy=False)
            self.now += 1.0
            self.obey()
        raise AssertionError(f"still waiting: {self.line}")


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
