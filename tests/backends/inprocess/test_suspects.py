"""Which requests are blamed for the death of a worker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.inprocess.suspects import Suspects


def test_two_deaths_convict() -> None:
    suspects = Suspects()
    assert not suspects.suspected("a")
    suspects.died(["a"])
    assert suspects.suspected("a")
    assert not suspects.convicted("a")
    suspects.died(["a"])
    assert suspects.convicted("a")


def test_those_suspected_are_blamed_before_those_who_were_only_there() -> None:
    suspects = Suspects()
    suspects.died(["a"])
    suspects.died(["a", "b"])
    assert suspects.convicted("a")
    assert not suspects.suspected("b")


def test_ending_well_clears() -> None:
    suspects = Suspects()
    suspects.died(["a", "b"])
    suspects.cleared("b")
    suspects.cleared("never seen")
    assert [suspects.suspected(name) for name in "ab"] == [True, False]


def test_only_so_many_are_remembered() -> None:
    suspects = Suspects(remembered=2)
    for name in "abc":
        suspects.died([name])
    assert [suspects.suspected(name) for name in "abc"] == [False, True, True]


@given(st.lists(st.sets(st.sampled_from("abcd"), max_size=3)))
def test_nobody_is_convicted_without_having_been_there_twice(deaths: list[set[str]]) -> None:
    suspects = Suspects()
    for in_flight in deaths:
        suspects.died(sorted(in_flight))
    for name in "abcd":
        assert not suspects.convicted(name) or sum(name in in_flight for in_flight in deaths) >= 2
