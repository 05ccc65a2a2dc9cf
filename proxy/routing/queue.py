"""Who may start now, who waits, and who is sent away. Pure: arrivals and the time in, changed tickets out.

A *pool* holds the slots of one engine. A *line* is what waits for the same slots: those of the engines that serve a model and,
where the model has a limit of its own, of that limit, too; models without one stand in the line of their engines, together.
"""

from __future__ import annotations

import sys
from collections import Counter
from itertools import count

from proxy.caller import Caller
from proxy.routing.tickets import Reason, State, Ticket
from proxy.routing.turns import Turns

NO_LIMIT = sys.maxsize
OVERDUE = 0.5
"""Part of the longest wait after which a ticket is overdue."""
OVERTAKES = 3
"""Starts on an engine that may pass the oldest overdue ticket by; the next slot is its own."""
SMOOTHING = 0.1
"""Weight of the latest request in the mean of how long slots are held."""


class Pool:
    """The slots of one engine. each: how many a replica of it has; limit: how many there are; both may change at any time."""

    __slots__ = ("each", "in_flight", "limit", "lines", "name", "overtaken")

    def __init__(self, name: str, each: int) -> None:
        self.name = name
        self.each = each
        self.limit = each
        self.in_flight = 0
        self.lines: list[Line] = []
        self.overtaken = 0

    @property
    def room(self) -> bool:
        """Whether a slot is free."""
        return self.in_flight < self.limit


class Line:
    """What waits for slots of these pools, the first one preferred. limit: of slots held; most: that may wait, None = as many
    as there are slots; held: mean seconds for which a slot was held lately, 0 = not known.
    """

    __slots__ = ("held", "in_flight", "limit", "most", "pools", "served", "turns")

    def __init__(self, pools: tuple[Pool, ...], limit: int = NO_LIMIT, most: int | None = None) -> None:
        self.pools = pools
        self.limit = limit
        self.most = most
        self.in_flight = 0
        self.held = 0.0
        self.served = 0
        self.turns = Turns()
        for pool in pools:
            pool.lines.append(self)

    @property
    def slots(self) -> int:
        """How many there are."""
        return min(self.limit, sum(pool.limit for pool in self.pools))

    @property
    def drains_in(self) -> float:
        """Seconds until those who wait now, and one more, have started: as fast as slots came free lately."""
        return self.held * (len(self.turns) + 1) / max(1, self.slots)

    def free(self) -> Pool | None:
        """Where a slot is free for it."""
        if self.in_flight < self.limit:
            for pool in self.pools:
                if pool.in_flight < pool.limit:
                    return pool
        return None


class Queue:
    """Owner of the slots and of those who wait for them. patience: the longest wait in seconds; max_bytes: of waiting bodies.

    Nobody waits while a slot is free for them; whoever changes a pool's or a line's limit calls `fill`.
    """

    def __init__(self, *, patience: float, max_bytes: int) -> None:
        self.patience = patience
        self.max_bytes = max_bytes
        self.waiting = 0
        self.bytes = 0
        self._present: Counter[str] = Counter()
        self._numbers = count()

    def arrive(self, line: Line, caller: Caller, size: int, now: float) -> Ticket:
        """A request's ticket: started where a slot is free, else waiting, or shed. size: of its body in bytes."""
        ticket = Ticket(next(self._numbers), line, caller, size, now)
        if caller.most is not None:
            if self._present[caller.key] >= caller.most:
                ticket.state, ticket.reason = State.SHED, Reason.QUOTA
                return ticket
            self._present[caller.key] += 1
        pool = line.free() if not line.turns else None
        if pool is not None:
            self._start(ticket, pool, now)
        else:
            self._wait(ticket, line)
        return ticket

    def end(self, ticket: Ticket, now: float) -> None:
        """The request is over, or its caller has left: its slot, or its place, goes to others. Once is enough."""
        state, ticket.state = ticket.state, State.ENDED
        if state is State.STARTED:
            self._release(ticket, now)
        elif state is State.WAITING:
            self._leave(ticket)
            self._forget(ticket)

    def move(self, ticket: Ticket, pool: Pool, now: float) -> None:
        """A started request is served from another pool of its line after all; whoever moves it looks for room there first."""
        left = ticket.pool
        if left is pool or left is None:
            return
        ticket.pool = pool
        pool.in_flight += 1
        left.in_flight -= 1
        if self.waiting:
            self.fill(left, now)

    def give_up(self, ticket: Ticket) -> None:
        """It has waited for the queue's patience: send it away if it still waits."""
        if ticket.state is State.WAITING:
            self._shed(ticket, Reason.LATE)

    def fill(self, pool: Pool, now: float) -> None:
        """Start whoever may start on a pool."""
        while pool.in_flight < pool.limit and (ticket := self._next(pool, now)) is not None:
            self._leave(ticket)
            self._start(ticket, pool, now)
            ticket.changed()

    # ------------------------------------------------------------------ waiting

    def _wait(self, ticket: Ticket, line: Line) -> None:
        """Line it up, in another's place if need be, or shed it."""
        if self.bytes + ticket.size > self.max_bytes:
            self._refuse(ticket, Reason.MEMORY)
            return
        if len(line.turns) >= (line.slots if line.most is None else line.most):
            displaced = line.turns.to_displace(ticket.caller)
            if displaced is None:
                self._refuse(ticket, Reason.SHARE if line.turns.crowds(ticket.caller) else Reason.FULL)
                return
            outranked = displaced.caller.priority > ticket.caller.priority
            self._shed(displaced, Reason.FULL if outranked else Reason.SHARE)
        line.turns.join(ticket)
        self.waiting += 1
        self.bytes += ticket.size

    def _shed(self, ticket: Ticket, reason: Reason) -> None:
        self._leave(ticket)
        self._refuse(ticket, reason)
        ticket.changed()

    def _refuse(self, ticket: Ticket, reason: Reason) -> None:
        ticket.state, ticket.reason = State.SHED, reason
        self._forget(ticket)

    def _leave(self, ticket: Ticket) -> None:
        ticket.line.turns.leave(ticket)
        self.waiting -= 1
        self.bytes -= ticket.size

    def _forget(self, ticket: Ticket) -> None:
        caller = ticket.caller
        if caller.most is not None:
            self._present[caller.key] -= 1
            if not self._present[caller.key]:
                del self._present[caller.key]

    # ------------------------------------------------------------------ starting

    def _next(self, pool: Pool, now: float) -> Ticket | None:
        """Whose turn it is on a pool: the first by priority and fairness, but the oldest where it is overdue and was passed by."""
        lines = [line for line in pool.lines if line.turns and line.in_flight < line.limit]
        if not lines:
            return None
        oldest = min((line.turns.oldest for line in lines), key=_number)
        overdue = now - oldest.arrived >= OVERDUE * self.patience
        its_turn = overdue and pool.overtaken >= OVERTAKES
        chosen = oldest if its_turn else min((line.turns.first() for line in lines), key=_standing)
        pool.overtaken = pool.overtaken + 1 if overdue and chosen is not oldest else 0
        return chosen

    def _start(self, ticket: Ticket, pool: Pool, now: float) -> None:
        line = ticket.line
        ticket.state, ticket.pool, ticket.started = State.STARTED, pool, now
        pool.in_flight += 1
        line.in_flight += 1
        line.turns.started(ticket.caller)
        if self.waiting:
            line.served = next(self._numbers)

    def _release(self, ticket: Ticket, now: float) -> None:
        line, pool = ticket.line, ticket.pool
        assert pool is not None, "a started ticket holds a slot"
        pool.in_flight -= 1
        line.in_flight -= 1
        line.turns.ended(ticket.caller)
        held = now - ticket.started
        line.held += (held - line.held) * SMOOTHING if line.held else held
        self._forget(ticket)
        if self.waiting:
            # The line may have room now on each of its pools, where its own limit was all that held it back.
            for each in line.pools:
                self.fill(each, now)


def _number(ticket: Ticket) -> int:
    return ticket.number


def _standing(ticket: Ticket) -> tuple[float, ...]:
    """Between lines: by priority, by what the caller holds of each, and by turns."""
    line = ticket.line
    return ticket.caller.priority, line.turns.share(ticket.caller), line.served, ticket.number
