"""Loads that need memory which others hold: each gets its turn, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.lifecycle.fitting import Fitting
from proxy.lifecycle.places import Attempt, Place
from proxy.lifecycle.requirements import Need
from proxy.lifecycle.rules import Rules
from proxy.lifecycle.scheduler import Key, Resident
from proxy.lifecycle.swapping import Swap, swap

LOOK_SECONDS = 1.0
"""Between two looks at the memory: others than we may give it back."""


class Seekers:
    """Has others leave for those who wait.

    residents: what holds memory on a device, or is about to; let_go: has one of them leave; step: told that `drained` changed.
    """

    def __init__(
        self,
        rules: Rules,
        fitting: Fitting,
        residents: Callable[[str], list[Resident]],
        let_go: Callable[[Key], None],
        step: Callable[[], None],
    ) -> None:
        self._rules = rules
        self._fitting = fitting
        self._residents = residents
        self._let_go = let_go
        self._step = step
        self._line: list[Place] = []
        self._drained: dict[Place, tuple[Key, ...]] = {}
        self._moved = asyncio.Event()

    @property
    def drained(self) -> frozenset[Key]:
        """Who is to take no new requests, so that they can leave."""
        return frozenset(key for keys in self._drained.values() for key in keys)

    def moved(self) -> None:
        """Something came, went or ended."""
        self._moved.set()

    async def check(self, key: Key, need: Need) -> None:
        """Raise OutOfMemory for a load that would find no room if it came now, whoever left for it."""
        if need.mb is None:
            return
        others = [each for each in self._residents(need.device) if each.key != key]
        free = await self._fitting.free_mb(need.device, others)
        if swap(others, need.mb, free, policy=self._rules.limits.policy, since=0.0, now=0.0).hopeless:
            raise await self._fitting.refused(need, free)

    async def make_way(self, place: Place, attempt: Attempt, need: Need) -> None:
        """Return when there is room for the load. Raises OutOfMemory when there will not be, or nobody waits for it any more."""
        attempt.need = need
        if need.mb is None:
            return
        attempt.seeking = True
        self._line.append(place)
        clock = asyncio.get_running_loop().time
        since = clock()
        try:
            while True:
                self._moved.clear()
                free = await self._fitting.free_mb(need.device, self._residents(need.device))
                decision = self._decide(place, need, free, since, clock())
                if decision.fits:
                    return
                waited = clock() - since > self._rules.wait and not place.wanted
                if decision.hopeless or waited:
                    raise await self._fitting.refused(need, free)
                self._act(place, decision)
                pause = LOOK_SECONDS if decision.again is None else min(LOOK_SECONDS, decision.again - clock())
                await self._until_moved(max(0.0, pause))
        finally:
            attempt.seeking = False
            self._line.remove(place)
            self._drained.pop(place, None)
            self._moved.set()
            self._step()

    def _decide(self, place: Place, need: Need, free: float, since: float, now: float) -> Swap:
        assert need.mb is not None, "who needs nothing does not wait"
        if any(_seeks(other, need.device) for other in self._line[: self._line.index(place)]):
            return Swap()
        others = [each for each in self._residents(need.device) if each.key != place.key and not each.downloading]
        return swap(others, need.mb, free, policy=self._rules.limits.policy, since=since, now=now)

    def _act(self, place: Place, decision: Swap) -> None:
        for key in decision.evict:
            self._let_go(key)
        if decision.drain != self._drained.get(place, ()):
            self._drained[place] = decision.drain
            self._step()

    async def _until_moved(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._moved.wait()
        except TimeoutError:
            return


def _seeks(place: Place, device: str) -> bool:
    attempt = place.attempt
    return attempt is not None and attempt.need is not None and attempt.need.device == device
