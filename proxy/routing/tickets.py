"""A request's place at the door: waiting for a slot, holding one, or sent away."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from proxy.caller import Caller

if TYPE_CHECKING:
    from proxy.routing.queue import Line, Pool


class State(Enum):
    """What a ticket is good for."""

    WAITING = "waiting"
    STARTED = "started"
    SHED = "shed"
    ENDED = "ended"


class Reason(StrEnum):
    """Why a request was sent away."""

    QUOTA = "quota"
    """Its key has as many requests at once as it may have."""
    SHARE = "share"
    """Its key has more waiting than others, and no more may wait."""
    FULL = "full"
    """No more may wait."""
    MEMORY = "memory"
    """The bodies of those who wait take as much memory as they may."""
    LATE = "late"
    """It has waited as long as anyone may."""


class Ticket:
    """One request. number: which arrival it was; size: of its body in bytes; arrived, started: seconds on the queue's clock.

    pool: whose slot it holds; reason: why it was shed; changed: told when a waiting ticket has started or was shed.
    """

    __slots__ = ("arrived", "caller", "changed", "line", "number", "pool", "reason", "size", "started", "state")

    def __init__(self, number: int, line: Line, caller: Caller, size: int, now: float) -> None:
        self.number = number
        self.line = line
        self.caller = caller
        self.size = size
        self.arrived = now
        self.changed: Callable[[], None] = _nobody
        self.state = State.WAITING
        self.started = now
        self.pool: Pool | None = None
        self.reason: Reason | None = None


def _nobody() -> None:
    """Who is told of a ticket's change as long as nobody waits for it."""
