"""Who starts, who waits, who is sent away: case by case (properties: test_queue_properties)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from proxy.caller import Caller, Priority
from proxy.routing.queue import NO_LIMIT, OVERTAKES, Line, Pool, Queue
from proxy.routing.tickets import Reason, State, Ticket

A, B, C = Caller("a"), Caller("b"), Caller("c")
PATIENCE = 30.0


class World:
    """A queue before one engine. slots: it has; most: that may wait."""

    def __init__(self, slots: int = 1, most: int | None = 100, max_bytes: int = 10**6) -> None:
        self.queue = Queue(patience=PATIENCE, max_bytes=max_bytes)
        self.pool = Pool("engine", slots)
        self.line = Line((self.pool,), NO_LIMIT, most)
        self.now = 0.0
        self.told: list[Ticket] = []

    def come(self, caller: Caller = A, size: int = 0, line: Line | None = None) -> Ticket:
        ticket = self.queue.arrive(line or self.line, caller, size, self.now)
        ticket.changed = lambda: self.told.append(ticket)
        return ticket

    def end(self, ticket: Ticket) -> None:
        self.queue.end(ticket, self.now)

    def serve(self, running: Iterable[Ticket], starts: int) -> list[Ticket]:
        """End the one that runs longest, as often as it takes; who started, in that order."""
        running = [ticket for ticket in running if ticket.state is State.STARTED]
        served: list[Ticket] = []
        while len(served) < starts:
            seen = len(self.told)
            self.end(running.pop(0))
            started = [ticket for ticket in self.told[seen:] if ticket.state is State.STARTED]
            running += started
            served += started
            assert started, "nobody started on a free slot"
        return served


def test_as_many_start_as_there_are_slots_and_the_rest_wait() -> None:
    world = World(slots=2)
    tickets = [world.come() for _ in range(4)]
    assert [ticket.state for ticket in tickets] == [State.STARTED, State.STARTED, State.WAITING, State.WAITING]
    world.end(tickets[1])
    assert tickets[2].state is State.STARTED
    assert world.told == [tickets[2]]


def test_who_leaves_while_waiting_costs_nothing() -> None:
    world = World(max_bytes=10)
    running, leaving, staying = world.come(), world.come(size=5), world.come(size=5)
    world.end(leaving)
    assert (world.queue.waiting, world.queue.bytes, world.pool.in_flight) == (1, 5, 1)
    world.end(leaving)
    assert world.queue.waiting == 1
    world.end(running)
    assert staying.state is State.STARTED
    assert world.queue.bytes == 0


def test_a_slot_is_given_back_once() -> None:
    world = World(slots=2)
    first, _ = world.come(), world.come()
    world.end(first)
    world.end(first)
    assert world.pool.in_flight == 1


def test_the_more_urgent_go_first_and_of_equals_the_first() -> None:
    world = World()
    running = world.come()
    low = world.come(Caller("a", Priority.LOW))
    normal = [world.come(), world.come()]
    high = world.come(Caller("b", Priority.HIGH))
    assert world.serve([running], 4) == [high, *normal, low]


def test_a_key_with_a_thousand_waiting_does_not_hold_up_one_with_a_single_request() -> None:
    world = World(most=2000)
    running = world.come(A)
    crowd = [world.come(A) for _ in range(1000)]
    single = world.come(B)
    served = world.serve([running], 3)
    assert single in served[:2]
    assert set(served) - {single} <= set(crowd)


def test_slots_are_shared_by_weight() -> None:
    world = World(slots=4, most=1000)
    heavy, light = Caller("heavy", weight=3), Caller("light", weight=1)
    running = [world.come(C) for _ in range(4)]
    for _ in range(400):
        world.come(light)
        world.come(heavy)
    world.serve(running, 4)
    held = Counter({key: world.line.turns._slots.get(key, 0) for key in ("heavy", "light")})
    assert held == {"heavy": 3, "light": 1}


def test_a_key_with_long_answers_holds_no_more_slots_than_one_with_short_ones() -> None:
    world = World(slots=4, most=1000)
    running = [world.come(C) for _ in range(4)]
    for _ in range(50):
        world.come(A)
        world.come(B)
    running = world.serve(running, 4)
    for _ in range(20):
        short = next(ticket for ticket in running if ticket.caller is B)
        running.remove(short)
        running += world.serve([short], 1)
        assert Counter(ticket.caller.key for ticket in running) == {"a": 2, "b": 2}


def test_turns_on_a_single_slot_are_shared_by_weight() -> None:
    world = World(slots=1, most=1000)
    heavy, light = Caller("heavy", weight=3), Caller("light", weight=1)
    running = world.come(C)
    for _ in range(200):
        world.come(light)
        world.come(heavy)
    served = Counter(ticket.caller.key for ticket in world.serve([running], 80))
    assert served == {"heavy": 60, "light": 20}


def test_one_who_asks_again_and_again_gets_no_more_turns_than_one_who_waits_with_many() -> None:
    world = World()
    running = world.come(B)
    for _ in range(100):
        world.come(A)
    served = Counter[str]()
    for _ in range(40):
        world.come(B)
        (running,) = world.serve([running], 1)
        served[running.caller.key] += 1
    assert abs(served["a"] - served["b"]) <= 2


def test_an_overdue_request_is_passed_by_a_few_times_at_most() -> None:
    world = World(most=1000)
    running = world.come()
    low = [world.come(Caller("poor", Priority.LOW)) for _ in range(3)]
    urgent = Caller("rich", Priority.HIGH)
    for _ in range(100):
        world.come(urgent)
    assert low[0] not in world.serve([running], 20)
    world.now = PATIENCE / 2
    served = world.serve([world.told[-1]], 3 * (OVERTAKES + 1))
    assert [place for place, ticket in enumerate(served) if ticket in low] == [3, 7, 11]


def test_a_model_has_a_limit_of_its_own_beside_its_engine() -> None:
    world = World(slots=3)
    adapter = Line((world.pool,), 1, 100)
    first, second = world.come(line=adapter), world.come(line=adapter)
    others = [world.come(), world.come()]
    assert [ticket.state for ticket in (second, *others)] == [State.WAITING, State.STARTED, State.STARTED]
    world.end(others[0])
    assert world.told == []
    world.end(first)
    assert world.told == [second]


def test_lines_for_one_engine_take_turns_and_priority_goes_before() -> None:
    world = World()
    adapter = Line((world.pool,), 10, 100)
    running = world.come()
    plain = [world.come() for _ in range(3)]
    adapted = [world.come(B, line=adapter) for _ in range(3)]
    urgent = world.come(Caller("c", Priority.HIGH), line=adapter)
    served = world.serve([running], 7)
    assert served[0] is urgent
    assert [ticket.line is adapter for ticket in served[1:]] in ([False, True] * 3, [True, False] * 3)
    assert set(served) == {*plain, *adapted, urgent}


def test_a_model_of_two_engines_starts_where_there_is_room_and_may_be_moved() -> None:
    world = World()
    other = Pool("other", 1)
    both = Line((world.pool, other), NO_LIMIT, 100)
    waiting = [world.come(), world.come()]
    moved = world.come(line=both)
    assert moved.pool is other
    last = world.come(line=both)
    world.end(waiting[0])
    world.end(waiting[1])
    assert last.state is State.STARTED and last.pool is world.pool
    world.end(moved)
    third = world.come()
    world.queue.move(last, other, world.now)
    assert (world.pool.in_flight, other.in_flight) == (1, 1)
    assert third.state is State.STARTED


def test_more_slots_are_used_when_they_are_told_of() -> None:
    world = World()
    tickets = [world.come() for _ in range(4)]
    world.pool.limit = 3
    world.queue.fill(world.pool, world.now)
    assert [ticket.state for ticket in tickets] == [State.STARTED] * 3 + [State.WAITING]
    world.pool.limit = 1
    world.end(tickets[0])
    assert tickets[3].state is State.WAITING


# ------------------------------------------------------------------ sent away


def test_as_many_may_wait_as_there_are_slots_unless_told_otherwise() -> None:
    world = World(slots=3, most=None)
    tickets = [world.come() for _ in range(7)]
    assert [ticket.reason for ticket in tickets] == [None] * 6 + [Reason.FULL]


def test_who_has_waited_long_enough_is_sent_away() -> None:
    world = World()
    running, late = world.come(), world.come()
    world.queue.give_up(running)
    world.queue.give_up(late)
    assert running.state is State.STARTED
    assert (late.state, late.reason, world.told) == (State.SHED, Reason.LATE, [late])


def test_a_key_may_have_so_many_requests_at_once_and_the_waiting_ones_count() -> None:
    world = World()
    narrow = Caller("narrow", most=2)
    first, second, third = world.come(narrow), world.come(narrow), world.come(narrow)
    assert (first.state, second.state, third.reason) == (State.STARTED, State.WAITING, Reason.QUOTA)
    world.end(first)
    assert world.come(narrow).reason is None
    assert world.come(narrow).reason is Reason.QUOTA


def test_in_a_full_queue_the_most_crowded_key_makes_room_with_its_newest() -> None:
    world = World(most=4)
    world.come(C)
    crowd = [world.come(A) for _ in range(4)]
    assert world.come(A).reason is Reason.FULL
    polite = world.come(B)
    assert polite.state is State.WAITING
    assert (crowd[3].state, crowd[3].reason) == (State.SHED, Reason.SHARE)
    assert world.told == [crowd[3]]
    second = world.come(B)
    assert (second.state, crowd[2].reason) == (State.WAITING, Reason.SHARE)
    assert (world.come(B).reason, world.come(A).reason) == (Reason.SHARE, Reason.SHARE)
    assert world.queue.waiting == 4


def test_in_a_full_queue_lower_priorities_make_room_and_higher_ones_do_not() -> None:
    world = World(most=2)
    world.come()
    low = world.come(Caller("a", Priority.LOW))
    normal = world.come(B)
    high = world.come(Caller("c", Priority.HIGH))
    assert (high.state, low.reason, normal.state) == (State.WAITING, Reason.FULL, State.WAITING)
    assert world.come(Caller("d", Priority.LOW)).reason is Reason.FULL
    assert world.come(Caller("c", Priority.HIGH)).state is State.WAITING
    assert normal.reason is Reason.FULL


def test_nobody_waits_with_more_than_fits() -> None:
    world = World(max_bytes=10)
    world.come(size=100)
    assert world.come(size=6).state is State.WAITING
    assert world.come(size=6).reason is Reason.MEMORY
    assert world.come(size=4).state is State.WAITING


def test_none_may_wait() -> None:
    world = World(most=0)
    assert [world.come().state for _ in range(2)] == [State.STARTED, State.SHED]


def test_how_soon_there_is_room_follows_from_how_long_slots_are_held() -> None:
    world = World(slots=2)
    assert world.line.drains_in == 0
    first, second = world.come(), world.come()
    world.now = 4.0
    world.end(first)
    world.end(second)
    assert world.line.drains_in == pytest.approx(2.0)
    for _ in range(5):
        world.come()
    assert world.line.drains_in == pytest.approx(4.0 * 4 / 2)
