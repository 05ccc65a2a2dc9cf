"""What holds for the queue whatever comes: limits, conservation, no idle slots, fairness, and how long anyone can be passed by."""

from __future__ import annotations

from collections import Counter
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.caller import Caller, Priority
from proxy.routing.queue import NO_LIMIT, OVERDUE, OVERTAKES, Line, Pool, Queue
from proxy.routing.tickets import State, Ticket

PATIENCE = 10.0
MAX_BYTES = 40

CALLERS = st.builds(
    Caller,
    key=st.sampled_from("abcd"),
    priority=st.sampled_from(Priority),
    weight=st.just(1.0),
)
LIMITS = st.integers(1, 4)


class Watched(Queue):
    """A queue whose every choice is compared with what a slow reading of the rules allows."""

    def __init__(self) -> None:
        super().__init__(patience=PATIENCE, max_bytes=MAX_BYTES)
        self.tickets: list[Ticket] = []
        self.passed = Counter[Ticket]()

    def _next(self, pool: Pool, now: float) -> Ticket | None:
        eligible = [
            ticket
            for ticket in self.tickets
            if ticket.state is State.WAITING and pool in ticket.line.pools and ticket.line.in_flight < ticket.line.limit
        ]
        chosen = super()._next(pool, now)
        assert (chosen is None) == (not eligible)
        if chosen is not None:
            assert chosen in eligible
            oldest = min(eligible, key=lambda ticket: ticket.number)
            overdue = now - oldest.arrived >= OVERDUE * PATIENCE
            if chosen is not oldest:
                self._check_order(chosen, eligible)
                self.passed[oldest] += overdue
                assert self.passed[oldest] <= OVERTAKES * len(oldest.line.pools)
        return chosen

    def _check_order(self, chosen: Ticket, eligible: list[Ticket]) -> None:
        assert chosen.caller.priority == min(ticket.caller.priority for ticket in eligible)
        beside = [t for t in eligible if t.line is chosen.line and t.caller.priority == chosen.caller.priority]
        held = {ticket.caller.key: self._held(ticket) for ticket in beside}
        assert held[chosen.caller.key] == min(held.values())
        assert chosen.number == min(t.number for t in beside if t.caller.key == chosen.caller.key)

    def _held(self, ticket: Ticket) -> int:
        return sum(
            other.state is State.STARTED and other.line is ticket.line and other.caller.key == ticket.caller.key
            for other in self.tickets
        )

    def _start(self, ticket: Ticket, pool: Pool, now: float) -> None:
        super()._start(ticket, pool, now)
        assert pool.in_flight <= pool.limit
        assert ticket.line.in_flight <= ticket.line.limit


class Door(RuleBasedStateMachine):
    """Two engines; a line for each, one for both, and one for a model with a limit of its own."""

    @initialize(first=LIMITS, second=LIMITS, own=st.integers(1, 2), most=st.none() | st.integers(0, 6))
    def open(self, first: int, second: int, own: int, most: int | None) -> None:
        self.queue = Watched()
        self.now = 0.0
        self.pools = (Pool("first", first), Pool("second", second))
        one, two = self.pools
        self.lines = (
            Line((one,), NO_LIMIT, most),
            Line((two,), NO_LIMIT, most),
            Line((one, two), NO_LIMIT, most),
            Line((one,), own, most),
        )
        self.told = Counter[Ticket]()

    @rule(caller=CALLERS, line=st.integers(0, 3), size=st.integers(0, 12), most=st.none() | st.just(3))
    def arrive(self, caller: Caller, line: int, size: int, most: int | None) -> None:
        # Who has a quota always has it: it is the key's.
        if most is not None:
            caller = Caller(f"{caller.key}-{most}", caller.priority, most=most)
        ticket = self.queue.arrive(self.lines[line], caller, size, self.now)
        ticket.changed = lambda: self._changed(ticket)
        self.queue.tickets.append(ticket)

    def _changed(self, ticket: Ticket) -> None:
        self.told[ticket] += 1
        assert self.told[ticket] == 1
        assert ticket.state in (State.STARTED, State.SHED)

    @rule(seconds=st.sampled_from((0.1, 1.0, 6.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self._in(State.STARTED))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.queue.end(data.draw(st.sampled_from(self._in(State.STARTED))), self.now)

    @precondition(lambda self: self._in(State.WAITING))
    @rule(data=st.data(), late=st.booleans())
    def leave(self, data: st.DataObject, late: bool) -> None:
        ticket = data.draw(st.sampled_from(self._in(State.WAITING)))
        if late:
            self.queue.give_up(ticket)
        else:
            self.queue.end(ticket, self.now)

    @rule(pool=st.integers(0, 1), limit=LIMITS)
    def replicas_come_and_go(self, pool: int, limit: int) -> None:
        self.pools[pool].limit = limit
        self.queue.fill(self.pools[pool], self.now)

    @precondition(lambda self: self._movable())
    @rule()
    def move(self) -> None:
        ticket, pool = self._movable()[0]
        self.queue.move(ticket, pool, self.now)

    def _movable(self) -> list[tuple[Ticket, Pool]]:
        return [
            (ticket, pool)
            for ticket in self._in(State.STARTED)
            for pool in ticket.line.pools
            if pool is not ticket.pool and pool.room
        ]

    def _in(self, state: State) -> list[Ticket]:
        return [ticket for ticket in self.queue.tickets if ticket.state is state]

    @invariant()
    def counts_are_true(self) -> None:
        started, waiting = self._in(State.STARTED), self._in(State.WAITING)
        for pool in self.pools:
            assert pool.in_flight == sum(ticket.pool is pool for ticket in started)
        for line in self.lines:
            assert line.in_flight == sum(ticket.line is line for ticket in started)
            assert len(line.turns) == sum(ticket.line is line for ticket in waiting)
        assert self.queue.waiting == len(waiting)
        assert self.queue.bytes == sum(ticket.size for ticket in waiting)
        quotas = Counter(t.caller.key for t in (*started, *waiting) if t.caller.most is not None)
        assert self.queue._present == quotas
        assert all(count <= 3 for count in quotas.values())

    @invariant()
    def nobody_is_lost(self) -> None:
        shed = self._in(State.SHED)
        assert all((ticket.reason is None) == (ticket.state is not State.SHED) for ticket in shed)
        ended = len(self._in(State.ENDED))
        others = len(self._in(State.STARTED)) + len(self._in(State.WAITING)) + len(shed)
        assert ended + others == len(self.queue.tickets)

    @invariant()
    def bounds_hold(self) -> None:
        assert self.queue.bytes <= MAX_BYTES
        for line in self.lines:
            if line.most is not None:
                assert len(line.turns) <= line.most

    @invariant()
    def no_slot_is_idle_while_anyone_waits_for_it(self) -> None:
        for line in self.lines:
            if line.turns:
                assert line.free() is None


Door.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestDoor = Door.TestCase


COUNTS = st.lists(st.integers(1, 60), min_size=2, max_size=6)
WEIGHTS = st.lists(st.sampled_from((0.5, 1.0, 2.0, 3.0)), min_size=6, max_size=6)


@given(counts=COUNTS, weights=WEIGHTS)
@settings(deadline=None)
def test_turns_on_one_slot_follow_the_weights(counts: list[int], weights: list[float]) -> None:
    callers = [Caller(str(number), weight=weights[number]) for number in range(len(counts))]
    bound = 2 / min(caller.weight for caller in callers)
    assert lead(callers, counts, slots=1) <= bound


@given(counts=COUNTS, slots=st.integers(1, 5))
@settings(deadline=None)
def test_keys_with_work_have_the_same_turns_on_however_many_slots(counts: list[int], slots: int) -> None:
    assert lead([Caller(str(number)) for number in range(len(counts))], counts, slots=slots) <= 1 + slots


def lead(callers: list[Caller], counts: list[int], *, slots: int) -> float:
    """How many turns, for its weight, any caller was ahead of another at any time at which both waited."""
    queue, pool = Queue(patience=1e9, max_bytes=0), Pool("engine", slots)
    line = Line((pool,), NO_LIMIT, 10_000)
    running = [queue.arrive(line, Caller("before"), 0, 0.0) for _ in range(slots)]
    for caller, number in zip(callers, counts, strict=True):
        for _ in range(number):
            ticket = queue.arrive(line, caller, 0, 0.0)
            ticket.changed = partial(running.append, ticket)
    waiting = {caller.key: number for caller, number in zip(callers, counts, strict=True)}
    served, most = Counter[str](), 0.0
    while queue.waiting:
        queue.end(running.pop(0), 0.0)
        key = running[-1].caller.key
        served[key] += 1
        waiting[key] -= 1
        turns = [served[caller.key] / caller.weight for caller in callers if waiting[caller.key]]
        most = max(most, max(turns, default=0) - min(turns, default=0))
    return most
