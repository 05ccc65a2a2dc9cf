"""Who makes room for a load: rules one by one, and whatever the situation."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from backends.base import ModelSpec
from proxy.lifecycle.scheduler import PATIENCE, Key, Resident
from proxy.lifecycle.swapping import MOST_COMPARED, Swap, cheapest, swap


def key(name: str) -> Key:
    return Key(name, ModelSpec(source=name))


def engine(name: str, memory_mb: float = 100.0, **facts: object) -> Resident:
    return replace(Resident(key=key(name), state="loaded", outside=True, memory_mb=memory_mb), **facts)  # type: ignore[arg-type]


def decide(others: list[Resident], need: float, free: float, *, since: float = 0.0, now: float = 0.0) -> Swap:
    return swap(others, need, free, policy="lru", since=since, now=now)


def test_memory_is_made_by_as_few_as_it_takes_or_by_none() -> None:
    here = [engine("a", used_at=1.0), engine("b", used_at=2.0), Resident(key=key("unmeasured"), state="loaded")]
    assert cheapest(here, 50.0, "lru") == (key("a"),)
    assert cheapest(here, 150.0, "lru") == (key("a"), key("b"))
    assert cheapest(here, 201.0, "lru") is None
    assert cheapest(here, 0.0, "lru") == ()


def test_those_leave_who_cost_least_together() -> None:
    here = [engine("dear", 200.0, cost=60.0), engine("b", cost=10.0, used_at=9.0), engine("c", cost=10.0)]
    assert cheapest(here, 150.0, "lru") == (key("c"), key("b"))
    assert cheapest(here, 250.0, "lru") == (key("dear"), key("c"))


def test_what_fits_starts_and_what_cannot_fit_is_told_at_once() -> None:
    assert decide([engine("a")], 50.0, 50.0) == Swap(fits=True)
    assert decide([engine("a", pinned=True)], 150.0, 100.0) == Swap(hopeless=True)
    assert decide([engine("a")], 250.0, 100.0) == Swap(hopeless=True)


def test_an_idle_engine_leaves_at_once_and_is_waited_for() -> None:
    assert decide([engine("a")], 100.0, 50.0) == Swap(evict=(key("a"),))
    assert decide([engine("a", state="unloading")], 100.0, 50.0) == Swap()


def test_what_an_engine_on_its_way_in_will_hold_is_not_given_away() -> None:
    coming = engine("a", state="loading")
    assert decide([coming], 100.0, 150.0) == Swap()
    assert decide([coming], 100.0, 200.0) == Swap(fits=True)


def test_a_busy_engine_is_drained_for_who_waited_long_once_it_has_served_as_long_as_it_took_to_start() -> None:
    busy = engine("a", busy=True, loaded_at=100.0, stay=30.0)
    assert decide([busy], 100.0, 0.0, since=100.0, now=101.0) == Swap(again=130.0)
    assert decide([busy], 100.0, 0.0, since=129.0, now=130.0) == Swap(again=129.0 + PATIENCE)
    assert decide([busy], 100.0, 0.0, since=129.0, now=129.0 + PATIENCE) == Swap(drain=(key("a"),))


def test_one_that_is_drained_stays_so_until_it_is_empty() -> None:
    here = [engine("a", busy=True, used_at=9.0, cost=50.0, draining=True), engine("b", busy=True, cost=10.0)]
    assert decide(here, 100.0, 0.0, since=0.0, now=50.0) == Swap(drain=(key("a"),))
    assert decide([replace(here[0], busy=False), here[1]], 100.0, 0.0, now=50.0) == Swap(evict=(key("a"),))


def test_models_of_this_process_leave_when_they_are_idle_and_are_not_drained() -> None:
    whisper = Resident(key=key("w"), state="loaded", memory_mb=100.0)
    assert decide([whisper], 100.0, 0.0) == Swap(evict=(key("w"),))
    assert decide([replace(whisper, busy=True)], 100.0, 0.0, now=999.0) == Swap(hopeless=True)


RESIDENTS = st.lists(
    st.builds(
        Resident,
        key=st.integers(0, 50).map(lambda number: key(f"m{number}")),
        state=st.sampled_from(["loading", "loaded", "unloading"]),
        busy=st.booleans(),
        pinned=st.booleans(),
        draining=st.booleans(),
        loaded_at=st.floats(0, 100),
        used_at=st.floats(0, 100),
        memory_mb=st.none() | st.integers(1, 100).map(float),
        outside=st.booleans(),
        cost=st.integers(0, 9).map(float),
        stay=st.floats(0, 100),
    ),
    unique_by=lambda resident: resident.key,
    max_size=14,
)


@given(RESIDENTS, st.integers(1, 500).map(float))
def test_whatever_there_is_the_chosen_suffice_and_no_one_of_them_leaves_for_nothing(
    here: list[Resident], missing: float
) -> None:
    chosen = cheapest(here, missing, "lru")
    by_key = {each.key: each for each in here}
    held = {each.key: each.memory_mb or 0.0 for each in here}
    if chosen is None:
        assert sum(held.values()) < missing
        return
    assert sum(held[each] for each in chosen) >= missing
    costs = {each: 0.0 if by_key[each].draining else by_key[each].cost for each in held}
    measured = [each for each in held if held[each]]
    if len(measured) <= MOST_COMPARED:
        every = [choice for size in range(len(measured) + 1) for choice in combinations(measured, size)]
        enough = [choice for choice in every if sum(held[each] for each in choice) >= missing]
        assert sum(costs[each] for each in chosen) == min(sum(costs[each] for each in choice) for choice in enough)


@given(RESIDENTS, st.integers(1, 500).map(float), st.integers(0, 500).map(float), st.floats(0, 200), st.floats(0, 200))
def test_whatever_the_situation(here: list[Resident], need: float, free: float, since: float, waited: float) -> None:
    decision = swap(here, need, free, policy="lru", since=since, now=since + waited)
    by_key = {each.key: each for each in here}
    assert all(by_key[each].spare for each in decision.evict)
    for each in (by_key[each] for each in decision.drain):
        assert each.outside
        assert each.busy
        assert not each.pinned
        assert each.draining or (waited >= PATIENCE and since + waited >= each.loaded_at + each.stay)
    if decision.fits:
        assert need <= free
    assert not (decision.fits and (decision.evict or decision.drain or decision.hopeless))
    assert decision.again is None or decision.again > since + waited


@given(RESIDENTS, st.integers(1, 500).map(float))
def test_who_waits_for_ever_is_not_told_to_wait_for_ever(here: list[Resident], need: float) -> None:
    settled = [replace(each, state="loaded") for each in here]
    decision = swap(settled, need, 0.0, policy="lru", since=0.0, now=1e6)
    assert decision.fits or decision.hopeless or decision.evict or decision.drain
