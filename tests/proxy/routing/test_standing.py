"""What is known of a replica between two words of its engine."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.base import Gauges
from proxy.routing.prefixes import BLOCK
from proxy.routing.standing import ADMITTED, STALE, TOKEN, WAITING, Reading, Standing, load

counts = st.integers(0, 500)


def reading(waiting: float = 0, running: float = 0, in_flight: int = 0) -> Reading:
    """What an engine said at time 0."""
    return Reading(Gauges(waiting=waiting, running=running), 0.0, in_flight)


def test_requests_of_others_count_and_those_that_wait_count_more() -> None:
    assert load(3, reading(running=10, in_flight=3)) == 10
    assert load(3, reading(waiting=2, running=10, in_flight=3)) == 10 + 2 * WAITING


def test_what_was_sent_since_counts_and_what_has_ended_does_not() -> None:
    assert load(8, reading(running=10, in_flight=3)) == 15
    assert load(1, reading(running=10, in_flight=3)) == 8
    assert load(4, reading(waiting=2, running=10, in_flight=6)) == 10


def test_an_engine_that_forgets_ours_does_not_look_idle() -> None:
    assert load(7, reading(running=0, in_flight=7)) == 7


@given(counts, counts, counts, counts)
def test_a_load_is_never_less_than_ours_and_grows_with_it(now: int, then: int, waiting: int, running: int) -> None:
    told = reading(waiting, running, then)

    assert load(now + 1, told) >= load(now, told) >= now


def test_old_figures_say_nothing() -> None:
    standing = Standing(1)
    standing.read(Gauges(waiting=9, running=50, kv=0.9), 100.0, 2)

    fresh = standing.candidate(2, (), 100.0 + STALE)
    old = standing.candidate(2, (), 100.1 + STALE)

    assert (fresh.load, fresh.kv) == (50 + 9 * WAITING, 0.9)
    assert (old.load, old.kv) == (2, 0.0)


def test_a_prompt_is_work_until_its_first_token_and_cached_from_then_on() -> None:
    standing = Standing(1)
    first = standing.send((1, 2, 3), 0.0)
    second = standing.send((1, 2, 3, 4), 0.0)
    assert standing.candidate(2, (1, 2, 9), 0.0)[4:7] == (4, 2, 2)

    first.begun()
    first.begun()
    assert standing.ahead == 1
    second.begun()
    assert standing.ahead == 0


def test_where_nothing_waits_older_prompts_have_begun() -> None:
    standing = Standing(1)
    standing.send((1, 2), 10.0)
    late = standing.send((3,), 10.0 + ADMITTED)

    standing.read(Gauges(waiting=1), 10.1 + ADMITTED, 2)
    assert standing.ahead == 3
    standing.read(Gauges(waiting=0), 10.1 + ADMITTED, 2)
    assert standing.ahead == 1
    late.begun()
    assert standing.ahead == 0


def test_as_much_is_remembered_as_the_cache_has_room_for() -> None:
    standing = Standing(1, most=100)
    standing.send(tuple(range(80)), 0.0)
    assert len(standing.prefixes) == 80

    standing.read(Gauges(cache_tokens=10 * BLOCK // TOKEN), 1.0, 0)
    standing.send((1,), 1.0)
    assert len(standing.prefixes) == 10

    standing.forget()
    assert standing.candidate(0, (1,), 1.0).matched == 0
