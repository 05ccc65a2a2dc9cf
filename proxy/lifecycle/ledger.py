"""Experience with loads, over restarts: read when it is first asked for, written after each load."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from backends.base import EngineSpec, ModelSpec, placed
from proxy.lifecycle.experience import Cost, Experience, read, write


class Ledger:
    """What loads cost. file: where it is kept, None = nowhere; one that cannot be read or written is no reason not to load."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._experience = Experience()
        self._log = structlog.get_logger("lifecycle")

    async def restore(self) -> None:
        """Read the file. Loads before that are not forgotten."""
        if self._file is None:
            return
        try:
            data = await asyncio.to_thread(read, self._file)
            if data is not None:
                self._experience.restore(data)
        except (OSError, ValueError) as error:
            self._log.warning("what was learned of loads cannot be read", file=str(self._file), error=repr(error))

    def expected(self, engine: EngineSpec, model: ModelSpec) -> Cost:
        """What a load of this model in this way is expected to cost."""
        return self._experience.expected(_name(engine, model))

    async def learn(self, engine: EngineSpec, model: ModelSpec, cost: Cost) -> None:
        """A load cost so much."""
        self._experience.learn(_name(engine, model), cost)
        if self._file is None:
            return
        try:
            await asyncio.to_thread(write, self._file, self._experience.dump())
        except OSError as error:
            self._log.warning("what was learned of loads is not kept", file=str(self._file), error=repr(error))


def _name(engine: EngineSpec, model: ModelSpec) -> str:
    """By what a load's cost is known: the model, and how it is loaded."""
    if model.adapter is not None:
        return " ".join((engine.kind, engine.name, "adapter", model.source))
    if engine.launch is not None:
        return " ".join((engine.kind, engine.name, engine.launch.digest, model.variant))
    spec = placed(engine, model)
    which = (model.source, model.revision or "", model.task or "")
    return " ".join((engine.kind, *which, spec.device, spec.compute_type))
