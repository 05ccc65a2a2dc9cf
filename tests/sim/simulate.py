"""A trace, a policy, virtual time: what every request waited for its first token, and what the engines had to compute."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, quantiles

from backends.base import Gauges
from proxy.routing.policy import Ask, Policy, choose, number_of
from proxy.routing.prefixes import blocks_of
from proxy.routing.standing import Sent, Standing
from tests.sim.engine import BLOCK, Asked, Engine, Hardware, Served
from tests.sim.traces import Trace

SCRAPE = 1.0
"""Seconds between two readings of the engines' figures, as in the proxy."""


@dataclass(slots=True, eq=False)
class Replica:
    """An engine as the proxy sees it, with the engine behind."""

    engine: Engine
    standing: Standing
    in_flight: int = 0
    busy: bool = False
    counted: float = 0.0
    since: float = 0.0
    sent: dict[Served, Sent] = field(default_factory=dict)

    def count(self, now: float, change: int) -> None:
        """A request has come or gone."""
        self.counted += self.in_flight * (now - self.since)
        self.in_flight += change
        self.since = now


@dataclass(frozen=True, slots=True)
class Result:
    """Of one trace under one policy. waits: seconds to the first token.

    cached: the part of all prompt tokens that needed no computing; spread: requests that the busiest replica had, on average
    over time, by the mean of all.
    """

    waits: Sequence[float]
    cached: float
    spread: float

    @property
    def mean(self) -> float:
        """Mean seconds to the first token."""
        return fmean(self.waits)

    def percentile(self, percent: int) -> float:
        """Seconds within which so many of a hundred requests had their first token."""
        return quantiles(self.waits, n=100)[percent - 1]


class Simulation:
    """One run. Nothing is drawn at random, and no clock is read."""

    def __init__(self, trace: Trace, policy: Policy, *, streams: bool = True) -> None:
        self._policy = policy
        self._streams = streams
        self._replicas = [_replica(number, hardware) for number, hardware in enumerate(trace.engines)]
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._turn = 0
        self._left = 0
        for at, asked in trace.arrivals:
            self._expect(at, asked)

    def run(self) -> Result:
        """Until the last request has ended."""
        self._at(0.0, self._scrape)
        now = 0.0
        while self._left:
            now, _, event = heapq.heappop(self._events)
            event(now)
        return self._result(now)

    def _at(self, when: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _expect(self, when: float, asked: Asked) -> None:
        self._left += 1
        self._at(when, lambda now: self._arrive(asked, now))

    def _arrive(self, asked: Asked, now: float) -> None:
        """What the proxy does with a request."""
        blocks = blocks_of({"messages": list(asked.messages)})
        session = number_of(asked.session) if asked.session else None
        candidates = [each.standing.candidate(each.in_flight, blocks, now) for each in self._replicas]
        chosen = choose(self._policy, candidates, Ask(self._turn, session, len(blocks)))
        assert chosen is not None
        self._turn += 1
        replica = self._replicas[chosen]
        replica.count(now, +1)
        served = Served(asked, now)
        replica.sent[served] = replica.standing.send(blocks, now)
        replica.engine.submit(served)
        if not replica.busy:
            self._step(replica, now)

    def _step(self, replica: Replica, now: float) -> None:
        seconds, first, ended = replica.engine.step()
        replica.busy = seconds > 0
        if replica.busy:
            self._at(now + seconds, lambda then: self._stepped(replica, first, ended, then))

    def _stepped(self, replica: Replica, first: list[Served], ended: list[Served], now: float) -> None:
        for each in first:
            each.first_token_at = now
            if self._streams:
                replica.sent[each].begun()
        for each in ended:
            replica.sent[each].begun()
            self._left -= 1
            replica.count(now, -1)
            if each.asked.then is not None:
                pause, following = each.asked.then
                self._expect(now + pause, following)
        self._step(replica, now)

    def _scrape(self, now: float) -> None:
        for replica in self._replicas:
            engine = replica.engine
            gauges = Gauges(
                waiting=len(engine.waiting),
                running=len(engine.running),
                kv=engine.cache.usage,
                cache_tokens=engine.cache.size * BLOCK,
            )
            replica.standing.read(gauges, now, replica.in_flight)
        if self._left:
            self._at(now + SCRAPE, self._scrape)

    def _result(self, end: float) -> Result:
        everything = [served for replica in self._replicas for served in replica.sent]
        waits = [served.first_token_at - served.arrived for served in everything if served.first_token_at is not None]
        tokens = sum(served.asked.prompt_tokens for served in everything)
        busy = [replica.counted / end for replica in self._replicas]
        return Result(waits, sum(served.cached for served in everything) / tokens, max(busy) / fmean(busy))


def _replica(number: int, hardware: Hardware) -> Replica:
    return Replica(Engine(hardware), Standing(number_of(f"engine {number}")))
