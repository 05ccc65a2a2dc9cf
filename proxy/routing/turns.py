"""In which order those start who wait for the same slots: by priority, and fairly between callers of one priority.

A free slot goes to the caller who holds the fewest slots for its weight; among equals, to the one who had the fewest turns
for its weight (stride scheduling); of one caller, to the request that came first. Pure: nothing here knows the time.
"""

from __future__ import annotations

from collections import OrderedDict

from proxy.caller import Caller, Priority
from proxy.routing.ranking import Rank, Ranking
from proxy.routing.tickets import Ticket

REMEMBERED = 4096
"""Callers whose past turns are known; when there are more, all of them start anew."""


class Turns:
    """Owner of the order. Every method takes O(log n), amortised; n: callers who wait."""

    def __init__(self) -> None:
        self._all: OrderedDict[Ticket, None] = OrderedDict()
        self._bands: dict[Priority, _Band] = {priority: _Band() for priority in Priority}
        self._slots: dict[str, int] = {}
        self._passes: dict[str, float] = {}
        self._clock = 0.0

    def __len__(self) -> int:
        return len(self._all)

    @property
    def oldest(self) -> Ticket:
        """Who has waited longest, whatever its priority; somebody must wait."""
        return next(iter(self._all))

    def join(self, ticket: Ticket) -> None:
        """One more waits."""
        caller = ticket.caller
        # Who comes anew has as many turns behind it as the one who was served last: no more, or it would wait for things past.
        self._passes[caller.key] = max(self._passes.get(caller.key, 0.0), self._clock)
        self._all[ticket] = None
        band = self._bands[caller.priority]
        band.add(ticket)
        band.rank(caller.key, self._standing(caller))

    def leave(self, ticket: Ticket) -> None:
        """It waits no more: it starts, or was sent away, or left."""
        del self._all[ticket]
        caller = ticket.caller
        band = self._bands[caller.priority]
        if band.remove(ticket):
            band.rank(caller.key, self._standing(caller))

    def first(self) -> Ticket:
        """Whose turn it is; somebody must wait."""
        band = next(band for band in self._bands.values() if band.queues)
        return next(iter(band.queues[band.ready.first()]))

    def share(self, caller: Caller) -> float:
        """The slots that a caller holds, for its weight."""
        return self._slots.get(caller.key, 0) / caller.weight

    def started(self, caller: Caller) -> None:
        """A caller holds one slot more."""
        key = caller.key
        self._slots[key] = self._slots.get(key, 0) + 1
        if not self._all:
            return
        self._clock = max(self._passes.get(key, 0.0), self._clock)
        if len(self._passes) > REMEMBERED:
            self._passes.clear()
        self._passes[key] = self._clock + 1.0 / caller.weight
        self._rank_anew(caller)

    def ended(self, caller: Caller) -> None:
        """And one less."""
        key = caller.key
        left = self._slots[key] - 1
        if left:
            self._slots[key] = left
        else:
            del self._slots[key]
        if self._all:
            self._rank_anew(caller)

    def to_displace(self, caller: Caller) -> Ticket | None:
        """Who has to go if this caller is to wait, too, and no more may: the newest of the most crowded caller.

        Those of lower priority go first. Of the same priority nobody goes for one who would be as crowded as they are.
        """
        lowest = next((each for each in reversed(Priority) if self._bands[each].queues), None)
        if lowest is None or lowest < caller.priority:
            return None
        band = self._bands[lowest]
        crowded = band.crowd.first()
        newest = next(reversed(band.queues[crowded]))
        if lowest == caller.priority:
            own = (len(band.queues.get(caller.key, ())) + 1) / caller.weight
            if own >= len(band.queues[crowded]) / newest.caller.weight:
                return None
        return newest

    def crowds(self, caller: Caller) -> bool:
        """Whether requests of this caller wait already, beside others' of the same priority."""
        queues = self._bands[caller.priority].queues
        return caller.key in queues and len(queues) > 1

    def _standing(self, caller: Caller) -> tuple[float, float]:
        return self.share(caller), self._passes.get(caller.key, self._clock)

    def _rank_anew(self, caller: Caller) -> None:
        for band in self._bands.values():
            if caller.key in band.queues:
                band.rank(caller.key, self._standing(caller))


class _Band:
    """Those of one priority, each caller's in a queue of its own."""

    def __init__(self) -> None:
        self.queues: dict[str, OrderedDict[Ticket, None]] = {}
        self.ready = Ranking()
        self.crowd = Ranking()

    def add(self, ticket: Ticket) -> None:
        self.queues.setdefault(ticket.caller.key, OrderedDict())[ticket] = None
        self._count(ticket)

    def remove(self, ticket: Ticket) -> bool:
        """Whether more of this caller wait."""
        key = ticket.caller.key
        del self.queues[key][ticket]
        if self.queues[key]:
            self._count(ticket)
            return True
        del self.queues[key]
        self.ready.drop(key)
        self.crowd.drop(key)
        return False

    def rank(self, key: str, standing: Rank) -> None:
        self.ready.put(key, (*standing, next(iter(self.queues[key])).number))

    def _count(self, ticket: Ticket) -> None:
        key, weight = ticket.caller.key, ticket.caller.weight
        self.crowd.put(key, (-len(self.queues[key]) / weight,))
