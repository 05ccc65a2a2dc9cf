"""What a request is told that is sent away from the queue: 429 when its own key has too much, 503 when all have."""

from __future__ import annotations

import random

from proxy.errors import ApiError, ErrorCode
from proxy.routing.tickets import Reason, Ticket

SOONEST, LATEST = 1.0, 60.0
"""Bounds of `Retry-After`, in seconds."""


def refusal(ticket: Ticket, model: str, patience: float) -> ApiError:
    """The error for a ticket that was shed. patience: seconds for which a request may wait."""
    match ticket.reason:
        case Reason.QUOTA:
            message = (
                f"This key has {ticket.caller.most} requests at once, as many as it may; try again when one has ended."
            )
            code = ErrorCode.OVERLOADED
        case Reason.SHARE:
            message = f"`{model}` is busy, and this key has more requests waiting than others; try again later."
            code = ErrorCode.OVERLOADED
        case Reason.LATE:
            message = f"`{model}` had no room for {patience:g} seconds; try again later."
            code = ErrorCode.UNAVAILABLE
        case _:
            message = f"`{model}` serves as many requests as it can, and as many wait as may; try again later."
            code = ErrorCode.UNAVAILABLE
    return ApiError(code, message, retry_after=_retry_after(ticket.line.drains_in))


def _retry_after(drains_in: float) -> float:
    """When those who wait now have started, spread: those who are sent away together do not come back together."""
    return min(max(drains_in * random.uniform(0.75, 1.5), SOONEST), LATEST)
