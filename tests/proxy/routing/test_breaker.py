"""Which ends of a request speak against its replica."""

from __future__ import annotations

import asyncio

import pytest

from backends.base import RelayOutcome
from backends.errors import BackendError, Broken, Invalid, Overloaded, Rejected, TimedOut, Unavailable, Unsupported
from proxy.routing.breaker import judged
from proxy.routing.health import End


def rejected(status: int, retry_after: float | None = None) -> Rejected:
    return Rejected("no", status=status, body=b"", content_type="", retry_after=retry_after)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 424, 499, 501, 505])
def test_what_is_wrong_with_the_request_is_not_the_replicas_fault(status: int) -> None:
    assert judged(rejected(status)).end is End.NEUTRAL


@pytest.mark.parametrize("status", [500, 502, 504, 507, 599])
def test_its_own_failures_are(status: int) -> None:
    assert judged(rejected(status)).end is End.STATUS


@pytest.mark.parametrize("status", [429, 503])
def test_being_full_is_something_else_and_says_for_how_long(status: int) -> None:
    assert judged(rejected(status, 7.0)) == (End.BUSY, f"it answered {status}", 7.0)


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (None, End.OK),
        (Unavailable("x"), End.GONE),
        (TimedOut("x", waited=3.0), End.TIMEOUT),
        (TimedOut("x"), End.TIMEOUT),
        (Broken("x"), End.BROKEN),
        (Overloaded("x", retry_after=2.0), End.BUSY),
        (Invalid("x"), End.NEUTRAL),
        (Unsupported("x"), End.NEUTRAL),
        (ConnectionResetError(), End.NEUTRAL),
        (asyncio.CancelledError(), End.NEUTRAL),
        (BackendError("x"), End.BROKEN),
    ],
)
def test_each_way_to_fail(error: BaseException | None, end: End) -> None:
    assert judged(error).end is end


def test_an_answer_that_broke_off_counts_although_nothing_was_raised() -> None:
    assert judged(None, RelayOutcome(error=Broken("x"))).end is End.BROKEN
    assert judged(None, RelayOutcome(finish_reason="stop")).end is End.OK


def test_the_engines_status_tells_more_than_what_was_made_of_it() -> None:
    error = Unavailable("The key is refused.")
    error.__cause__ = rejected(401)
    assert judged(error).end is End.NEUTRAL
