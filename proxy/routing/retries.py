"""May a failed request be sent to another replica? Only what cannot be done twice by that, and only so often. Pure."""

from __future__ import annotations

from backends.errors import BackendError, Broken, Overloaded, Rejected, TimedOut, Unavailable
from proxy.routing.breaker import BUSY, NO_FAILURES

RATIO = 0.2  # retries to requests: retrying all would double the load of engines that fail under it
PER_SECOND = 1.0  # retries that are allowed whatever the requests, so that a quiet proxy may retry at all
MOST = 10.0  # retries saved up


class RetryBudget:
    """A token bucket. seen: requests so far, counted by whoever sends them: all that a request without a retry costs."""

    __slots__ = ("_at", "_counted", "_tokens", "seen")

    def __init__(self, now: float = 0.0) -> None:
        self.seen = 0
        self._counted = 0
        self._at = now
        self._tokens = MOST

    def take(self, now: float) -> bool:
        """Whether one more retry is within the budget; if so it is taken from it."""
        earned = (self.seen - self._counted) * RATIO + (now - self._at) * PER_SECOND
        self._tokens = min(MOST, self._tokens + earned)
        self._counted, self._at = self.seen, now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def was_sent(error: BackendError) -> bool:
    """Whether an engine got to see the request: going on to the next one costs nobody anything where none did."""
    return type(error) is not Unavailable or isinstance(error.__cause__, Rejected)


def may_retry(error: BackendError, *, first_byte_sent: bool, safe: bool) -> bool:
    """Whether another replica may be asked. safe: the caller said that doing it twice does no harm.

    Never after a byte of an answer went out. Else where nothing was done: no connection, or an engine that said it was full.
    A request that was sent and then lost may have been done: that one only where it is safe.
    """
    if first_byte_sent:
        return False
    refused = error.__cause__ if isinstance(error.__cause__, Rejected) else error
    if isinstance(refused, Rejected):
        return refused.status in BUSY or (safe and refused.status >= 500 and refused.status not in NO_FAILURES)
    if type(refused) in (Unavailable, Overloaded):
        return True
    return safe and isinstance(refused, (TimedOut, Broken))
