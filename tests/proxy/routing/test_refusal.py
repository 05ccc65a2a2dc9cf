"""What those are told who are sent away."""

from __future__ import annotations

import pytest

from proxy.caller import Caller
from proxy.errors import ErrorCode
from proxy.routing.queue import Line, Pool
from proxy.routing.refusal import LATEST, SOONEST, refusal
from proxy.routing.tickets import Reason, Ticket


def ticket(reason: Reason, held: float = 0.0) -> Ticket:
    shed = Ticket(0, Line((Pool("engine", 4),)), Caller("k", most=3), 0, 0.0)
    shed.line.held = held
    shed.reason = reason
    return shed


@pytest.mark.parametrize(
    ("reason", "code", "words"),
    [
        (Reason.QUOTA, ErrorCode.OVERLOADED, "has 3 requests at once"),
        (Reason.SHARE, ErrorCode.OVERLOADED, "more requests waiting than others"),
        (Reason.FULL, ErrorCode.UNAVAILABLE, "as many wait as may"),
        (Reason.MEMORY, ErrorCode.UNAVAILABLE, "as many wait as may"),
        (Reason.LATE, ErrorCode.UNAVAILABLE, "no room for 30 seconds"),
    ],
)
def test_a_key_that_has_too_much_is_told_so_and_the_others_that_all_have(
    reason: Reason, code: ErrorCode, words: str
) -> None:
    error = refusal(ticket(reason), "m", 30)
    assert error.code is code
    assert words in error.message


def test_when_to_come_again_follows_from_how_fast_slots_come_free_and_is_spread() -> None:
    waits = {refusal(ticket(Reason.FULL, held=40.0), "m", 30).retry_after for _ in range(50)}
    assert len(waits) > 10
    assert all(wait is not None and 0.75 * 10 <= wait <= 1.5 * 10 for wait in waits)
    assert refusal(ticket(Reason.FULL, held=0.01), "m", 30).retry_after == SOONEST
    assert refusal(ticket(Reason.FULL, held=1e6), "m", 30).retry_after == LATEST
