"""Does a load fit? What it needs is looked up, what there is measured, and spare models leave for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from backends.base import EngineSpec, ModelSpec, placed
from backends.errors import NoDevice, NotCached
from backends.inprocess.cuda import device_count
from proxy.lifecycle.engines import Engines
from proxy.lifecycle.gauge import Gauge
from proxy.lifecycle.ledger import Ledger
from proxy.lifecycle.requirements import Consult, Need, arithmetic, needed_mb, refusal, refuse_arithmetic
from proxy.lifecycle.weights import weights_mb
from proxy.registry.models import ModelEntry

MakeRoom: TypeAlias = Callable[[float, str], Awaitable[None]]
"""Have spare models go for so many MB on a device, as far as there are any."""


class Fitting:
    """Answers for models of this process."""

    def __init__(self, engines: Engines, gauge: Gauge, ledger: Ledger, facts: Consult) -> None:
        self._engines = engines
        self._gauge = gauge
        self._ledger = ledger
        self._facts = facts

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

    async def fit(self, need: Need, make_room: MakeRoom) -> None:
        """Have room for what is needed, if that is known. Raises OutOfMemory with the figures and ways out."""
        if need.mb is None:
            return
        available = (await self._gauge.room()).available_on(need.device)
        if need.mb > available:
            await make_room(need.mb - available, need.device)
            available = (await self._gauge.room()).available_on(need.device)
        if need.mb > available:
            raise refusal(need, need.mb, available, await self._facts())

    async def device(self, spec: EngineSpec) -> str:
        """Where a model is loaded, cpu or cuda. Raises NoDevice."""
        if spec.device == "cpu":
            return "cpu"
        found = await asyncio.to_thread(device_count)
        if spec.device.startswith("cuda") and not found:
            raise NoDevice("This machine has no usable CUDA device; load the model on cpu, or with device auto.")
        return "cuda" if found else "cpu"
