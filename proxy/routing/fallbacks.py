"""When another model steps in for one that cannot serve."""

from __future__ import annotations

from backends.errors import BackendError, Rejected, Unavailable
from proxy.errors import ApiError, ErrorCode
from proxy.observability.call import Call
from proxy.registry.models import ModelEntry
from proxy.routing.retries import may_retry

HEADER = "X-Switchboard-Model"
"""Tells which model served, where that was another one than was asked for."""


class Elsewhere(Unavailable):
    """The model that steps in does not speak the dialect of the request: `entry` is to be run for its events.

    To whoever cannot do that it is the failure that made it necessary.
    """

    def __init__(self, entry: ModelEntry, failure: BackendError | ApiError) -> None:
        super().__init__(failure.message, retry_after=failure.retry_after)
        self.entry = entry


def gives_way(failure: BackendError | ApiError, *, safe: bool) -> bool:
    """Whether another model may serve a request that ended like this, before a byte of an answer.

    It may where nothing was done: there is no replica, none has room, or the model does not load; and where doing it twice is
    `safe`. A caller who has too many requests has too many for the other model, too.
    """
    if isinstance(failure, ApiError):
        return failure.code is ErrorCode.UNAVAILABLE
    undone = isinstance(failure, Unavailable) and not isinstance(failure.__cause__, Rejected)
    return undone or may_retry(failure, first_byte_sent=False, safe=safe)


def step_in(entry: ModelEntry, call: Call) -> None:
    """This model serves the call from now on, and the answer says so."""
    call.instead_of = call.instead_of or call.model
    call.model, call.engine, call.replica, call.relayed = entry.name, entry.engine, "", None
    call.told[HEADER] = entry.name
