"""Is memory short? Looked at now and then, while there is a model that could go."""

from __future__ import annotations

import asyncio

from proxy.lifecycle.floor import Floor
from proxy.lifecycle.gauge import Gauge
from proxy.lifecycle.rules import Rules
from proxy.lifecycle.scheduler import leaving_order

SECONDS = 5.0


class Watch:
    """Has one go at each look, while more of the memory is in use than the rules allow: engines that sleep, then spare models."""

    def __init__(self, floor: Floor, gauge: Gauge, rules: Rules) -> None:
        self._floor = floor
        self._gauge = gauge
        self._rules = rules
        self._task: asyncio.Task[None] | None = None

    def keep(self) -> None:
        """Look from now on, until there is nothing that could go."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look(), name="watch memory")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        await asyncio.sleep(SECONDS)
        while self._floor.sleepers or any(not resident.pinned for resident in self._floor.residents()):
            room = await self._gauge.room()
            if room.used <= self._rules.pressure * room.total:
                pass
            elif sleepers := self._floor.sleepers:
                self._floor.end_sleeper(sleepers[0])
            else:
                order = leaving_order(self._floor.residents(), self._rules.limits.policy)
                for resident in [resident for resident in order if resident.spare][:1]:
                    self._floor.relieve(resident.key)
            await asyncio.sleep(SECONDS)
