"""What may be sent once more, and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import BackendError, Broken, Invalid, NotFound, Overloaded, Rejected, TimedOut, Unavailable
from proxy.routing.retries import MOST, PER_SECOND, RATIO, RetryBudget, may_retry, was_sent


def rejected(status: int) -> Rejected:
    return Rejected("no", status=status, body=b"", content_type="")


NOT_DONE = [Unavailable("x"), Overloaded("x"), rejected(429), rejected(503)]
PERHAPS_DONE = [TimedOut("x"), Broken("x"), rejected(500), rejected(502), rejected(504)]
NEVER = [Invalid("x"), NotFound("x"), BackendError("x"), rejected(400), rejected(404), rejected(501)]


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("error", [*NOT_DONE, *PERHAPS_DONE, *NEVER])
def test_nothing_is_retried_after_a_byte(error: BackendError, safe: bool) -> None:
    assert not may_retry(error, first_byte_sent=True, safe=safe)


@pytest.mark.parametrize("error", NOT_DONE)
def test_what_was_not_done_may_be_done_elsewhere(error: BackendError) -> None:
    assert may_retry(error, first_byte_sent=False, safe=False)


@pytest.mark.parametrize("error", PERHAPS_DONE)
def test_what_may_have_been_done_is_only_retried_where_that_is_safe(error: BackendError) -> None:
    assert not may_retry(error, first_byte_sent=False, safe=False)
    assert may_retry(error, first_byte_sent=False, safe=True)


@pytest.mark.parametrize("error", NEVER)
def test_what_would_fail_everywhere_is_not_retried(error: BackendError) -> None:
    assert not may_retry(error, first_byte_sent=False, safe=True)


def test_an_engine_that_answered_has_seen_the_request() -> None:
    refused = Unavailable("x")
    assert not was_sent(refused)
    refused.__cause__ = rejected(503)
    assert was_sent(refused)
    assert was_sent(Overloaded("x"))


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 3)), max_size=100))
def test_retries_stay_a_fifth_of_the_requests(rounds: list[tuple[int, float]]) -> None:
    budget, now, retries = RetryBudget(), 0.0, 0
    for requests, seconds in rounds:
        budget.seen += requests
        now += seconds
        for _ in range(requests + 20):
            retries += budget.take(now)
        assert retries <= budget.seen * RATIO + now * PER_SECOND + MOST + 1e-6


def test_a_busy_proxy_may_retry_a_fifth_and_a_quiet_one_at_least_some() -> None:
    budget = RetryBudget()
    while budget.take(0.0):
        pass
    budget.seen += 25
    assert [budget.take(0.0) for _ in range(6)] == [True] * 5 + [False]
    assert not budget.take(0.5)
    assert budget.take(1.5)
