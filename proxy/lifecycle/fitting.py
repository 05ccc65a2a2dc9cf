"""Does a load fit? What it needs is looked up, and what there is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from backends.base import EngineSpec, ModelSpec, placed
from backends.errors import NoDevice, NotCached, OutOfMemory
from backends.inprocess.cuda import device_count
from proxy.lifecycle.engines import Engines
from proxy.lifecycle.gauge import Gauge
from proxy.lifecycle.ledger import Ledger
from proxy.lifecycle.requirements import Consult, Need, arithmetic, needed_mb, refusal, refuse_arithmetic
from proxy.lifecycle.scheduler import Resident
from proxy.lifecycle.weights import weights_mb
from proxy.registry.models import ModelEntry


class Fitting:
    """Answers for models of this process. budget: MB that models and engines may hold together, None = all that there is."""

    def __init__(
        self, engines: Engines, gauge: Gauge, ledger: Ledger, facts: Consult, budget: float | None = None
    ) -> None:
        self._engines = engines
        self._gauge = gauge
        self._ledger = ledger
        self._facts = facts
        self._budget = budget

    async def need(self, entry: ModelEntry, model: ModelSpec, *, strict: bool = False) -> Need:
        """What a load is expected to hold, and where. Raises NoDevice for a GPU that is not there.

        strict: also raises NotCached for a model that is not on this machine while the hub is not to be asked.
        """
        spec = placed(self._engines.spec(entry.engine), model)
        device = await self.device(spec)
        refuse_arithmetic(spec.kind, device, spec.compute_type)
        try:
            weights = await asyncio.to_thread(weights_mb, model)
        except NotCached:
            if strict:
                raise
            weights = None
        learned = self._ledger.expected(self._engines.spec(entry.engine), model).memory_mb
        published = (await self._facts()).memory_mb(model.source)
        computed = arithmetic(spec.kind, device, spec.compute_type)
        return Need(
            label=f"`{entry.name}`",
            source=model.source,
            device=device,
            int8=computed is not None and computed.startswith("int8"),
            mb=needed_mb(learned, published, weights, computed),
        )

    async def free_mb(self, device: str, residents: Iterable[Resident]) -> float:
        """What a load can have on the device, beside those who are in its memory."""
        room = await self._gauge.room()
        available = room.available_on(device)
        if self._budget is None or (device == "cpu" and room.gpu is not None):
            return available
        held = sum(each.memory_mb or 0.0 for each in residents if each.state != "loading")
        return min(available, self._budget - held)

    async def refused(self, need: Need, free_mb: float) -> OutOfMemory:
        """The error for a load that found no room, with the figures and ways out."""
        return refusal(need, need.mb or 0.0, max(0.0, free_mb), await self._facts())

    async def device(self, spec: EngineSpec) -> str:
        """Where a model is loaded, cpu or cuda. Raises NoDevice."""
        if spec.device == "cpu":
            return "cpu"
        found = await asyncio.to_thread(device_count)
        if spec.device.startswith("cuda") and not found:
            raise NoDevice("This machine has no usable CUDA device; load the model on cpu, or with device auto.")
        return "cuda" if found else "cpu"
