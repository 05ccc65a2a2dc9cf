"""Ten times what an engine can serve, in simulated time: the queue keeps it busy and its answers prompt, and is soon empty."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest

from proxy.caller import Caller, Priority
from proxy.routing.queue import Line, Pool, Queue
from proxy.routing.tickets import State, Ticket

SLOTS, SECONDS = 20, 0.2
CAPACITY = SLOTS / SECONDS
PATIENCE = 30.0


@dataclass
class Simulation:
    """Requests before an engine of SLOTS slots; what became of them, by when they came."""

    seed: int
    queue: Queue = field(default_factory=lambda: Queue(patience=PATIENCE, max_bytes=10**9))
    answered: list[tuple[float, float, Caller]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    _ends: list[tuple[float, int, Ticket]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.pool = Pool("engine", SLOTS)
        self.line = Line((self.pool,))

    def run(self, loads: list[tuple[float, float]], callers: list[Caller]) -> None:
        """Load as many times the capacity, for as many seconds, each."""
        now = end = 0.0
        for load, seconds in loads:
            end += seconds
            while (now := now + self._random.expovariate(CAPACITY * load)) < end:
                self._end_until(now)
                self._come(now, self._random.choice(callers))
            now = end
        self._end_until(float("inf"))

    def _come(self, now: float, caller: Caller) -> None:
        ticket = self.queue.arrive(self.line, caller, 100, now)
        ticket.changed = lambda: self._changed(ticket)
        if ticket.state is State.STARTED:
            self._begin(ticket)
        elif ticket.state is State.SHED:
            self.refused.append(now)

    def _changed(self, ticket: Ticket) -> None:
        if ticket.state is State.STARTED:
            self._begin(ticket)
        else:
            self.refused.append(ticket.arrived)

    def _begin(self, ticket: Ticket) -> None:
        end = ticket.started + SECONDS * self._random.uniform(0.5, 1.5)
        heapq.heappush(self._ends, (end, ticket.number, ticket))

    def _end_until(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            end, _, ticket = heapq.heappop(self._ends)
            self.answered.append((ticket.arrived, end, ticket.caller))
            self.queue.end(ticket, end)

    def goodput(self, begin: float, end: float) -> float:
        """Answers a second that ended between two times."""
        return sum(begin <= ended < end for _, ended, _ in self.answered) / (end - begin)

    def slowest(self, begin: float, end: float) -> float:
        """Within which time 99 % of those were answered who came between two times and were not refused."""
        times = sorted(ended - came for came, ended, _ in self.answered if begin <= came < end)
        return times[int(len(times) * 0.99)]


@pytest.mark.parametrize("seed", range(5))
def test_goodput_latency_and_recovery(seed: int) -> None:
    simulation = Simulation(seed)
    simulation.run([(0.5, 20), (1, 20), (10, 20), (0.5, 20)], [Caller("a"), Caller("b")])
    peak = max(simulation.goodput(20, 40), simulation.goodput(40, 60))
    assert peak > 0.9 * CAPACITY
    assert simulation.goodput(41, 60) >= 0.8 * peak
    usual = simulation.slowest(0, 20)
    assert simulation.slowest(41, 60) <= 2 * usual
    assert simulation.slowest(61, 80) <= 1.1 * usual
    assert not [came for came in simulation.refused if came > 61 or came < 20]
    assert (simulation.queue.waiting, simulation.pool.in_flight) == (0, 0)


def test_the_urgent_are_served_as_if_there_were_no_others() -> None:
    urgent, others = Caller("urgent", Priority.HIGH), Caller("others")
    simulation = Simulation(7)
    simulation.run([(10, 30)], [urgent, *[others] * 29])
    served = [came for came, _, caller in simulation.answered if caller is urgent]
    assert len(served) > 0.95 * 30 * CAPACITY * 10 / 30
    assert simulation.goodput(1, 30) > 0.9 * CAPACITY
