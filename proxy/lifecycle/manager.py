"""When is a model loaded: one owner of that question; callers ask for the end they want, `ensure_ready`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import structlog

from backends.base import Progress
from backends.errors import BackendError, Unavailable
from proxy.lifecycle.engines import Engines
from proxy.registry.models import ModelEntry

REPORT_EVERY_S = 2.0


@dataclass(slots=True)
class _Load:
    """One load under way, however many wait for it."""

    task: asyncio.Task[None]
    started: float
    progress: Progress | None = None
    reported: float = 0.0


class LifecycleManager:
    """Loads models on demand: concurrent requests for one model are one load, and a failed load leaves nothing behind."""

    def __init__(self, engines: Engines, *, wait_seconds: float) -> None:
        self._engines = engines
        self._wait_seconds = wait_seconds
        self._ready: set[str] = set()
        self._loads: dict[str, _Load] = {}
        self._log = structlog.get_logger("lifecycle")

    def is_ready(self, entry: ModelEntry) -> bool:
        """Whether the model can run now, without waiting."""
        return entry.name in self._ready

    async def ensure_ready(self, entry: ModelEntry) -> None:
        """Return when the model can run. Raises Unavailable when its load failed, or takes longer than a caller should wait.

        A caller who leaves does not stop the load: others may be waiting, and the next request will want it.
        """
        if entry.name in self._ready:
            return
        load = self._loads.get(entry.name) or self._start(entry)
        done, _ = await asyncio.wait({load.task}, timeout=self._wait_seconds)
        if not done:
            raise Unavailable(f"The model `{entry.name}` is still loading ({_describe(load)}).", retry_after=5)
        load.task.result()

    async def close(self) -> None:
        """Stop loads that are under way."""
        tasks = [load.task for load in self._loads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, entry: ModelEntry) -> _Load:
        load = _Load(asyncio.create_task(self._run(entry), name=f"load {entry.name}"), time.monotonic())
        # The outcome is always looked at, also when every waiter has left.
        load.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._loads[entry.name] = load
        return load

    async def _run(self, entry: ModelEntry) -> None:
        loop = asyncio.get_running_loop()

        def report(progress: Progress) -> None:
            loop.call_soon_threadsafe(self._report, entry.name, progress)

        started = time.monotonic()
        try:
            backend = await self._engines.make(entry.engine)
            await backend.load(entry.spec, report)
        except BackendError as error:
            # In full: no request's words can be in it, and its paths are for the operator alone.
            cause = {} if error.__cause__ is None else {"cause": repr(error.__cause__)}
            self._log.error("model load failed", model=entry.name, error=error.message, **cause)
            raise
        else:
            self._ready.add(entry.name)
            self._log.info("model ready", model=entry.name, seconds=round(time.monotonic() - started, 2))
        finally:
            del self._loads[entry.name]

    def _report(self, name: str, progress: Progress) -> None:
        load = self._loads.get(name)
        if load is None:
            return
        stage_changed = load.progress is None or load.progress.stage != progress.stage
        load.progress = progress
        now = time.monotonic()
        if stage_changed or now - load.reported >= REPORT_EVERY_S:
            load.reported = now
            self._log.info("model loading", model=name, progress=_describe(load))


def _describe(load: _Load) -> str:
    progress = load.progress
    if progress is None:
        return f"{time.monotonic() - load.started:.0f} s so far"
    if progress.total:
        return f"{progress.stage} {100 * progress.done // progress.total} %"
    return progress.stage
