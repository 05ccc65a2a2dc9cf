"""What of a request's end speaks against the replica that had it. Pure."""

from __future__ import annotations

from typing import NamedTuple

from backends.base import RelayOutcome
from backends.errors import BackendError, Broken, Invalid, Overloaded, Rejected, TimedOut, Unavailable
from proxy.routing.health import End

BUSY = frozenset({429, 503})
NO_FAILURES = frozenset({501, 505})  # said of the request: this method, this version


class Verdict(NamedTuple):
    """reason: a few words for people; retry_after: seconds, where a busy engine told them."""

    end: End
    reason: str = ""
    retry_after: float | None = None


WELL = Verdict(End.OK)
NEUTRAL = Verdict(End.NEUTRAL)


def judged(error: BaseException | None, outcome: RelayOutcome | None = None) -> Verdict:
    """How the request ended for its replica. error: what it raised; outcome: what a relay saw in passing.

    4xx, wrong requests and callers who leave are not the replica's fault, whatever their number.
    """
    if error is None and outcome is not None:
        error = outcome.error
    if error is None:
        return WELL
    answered = error.__cause__ if isinstance(error.__cause__, Rejected) else error
    match answered:
        case Rejected():
            return _by_status(answered)
        case Overloaded():
            return Verdict(End.BUSY, "it is full", answered.retry_after)
        case Unavailable():
            return Verdict(End.GONE, "it accepts no connection")
        case TimedOut(waited=0.0):
            return Verdict(End.TIMEOUT, "it gave up on a request")
        case TimedOut():
            return Verdict(End.TIMEOUT, f"it said nothing for {answered.waited:g} s")
        case Broken():
            return Verdict(End.BROKEN, "it cut an answer short, or garbled it")
        case BackendError() if not isinstance(answered, Invalid):
            return Verdict(End.BROKEN, "it failed")
        case _:
            return NEUTRAL


def _by_status(error: Rejected) -> Verdict:
    if error.status in BUSY:
        return Verdict(End.BUSY, f"it answered {error.status}", error.retry_after)
    if error.status >= 500 and error.status not in NO_FAILURES:
        return Verdict(End.STATUS, f"it answered {error.status}")
    return NEUTRAL
