"""One load from its check to its measure, and one unload; what happens on the way is published."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeAlias

import structlog

from backends.base import Backend, ModelSpec, Progress, placed
from backends.errors import BackendError, Broken, LoadTimedOut
from backends.inprocess.memory import trim
from proxy.events.values import Event, LoadCompleted, LoadProgress, LoadStarted, ModelType
from proxy.lifecycle.engines import Engines
from proxy.lifecycle.experience import Cost
from proxy.lifecycle.fitting import Fitting, MakeRoom
from proxy.lifecycle.gauge import Gauge, Growth
from proxy.lifecycle.ledger import Ledger
from proxy.lifecycle.outcomes import failure
from proxy.lifecycle.places import Attempt
from proxy.lifecycle.probe import run_probe
from proxy.lifecycle.progress import advanced, warming
from proxy.registry.models import ModelEntry

SAMPLE_SECONDS = 0.5

TYPES: dict[str, ModelType] = {"transcription": "asr", "translation": "mt", "text": "text", "pipeline": "pipeline"}

Publish: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory. memory_mb: measured, None = could not be told apart from what others did meanwhile."""

    model: ModelSpec
    device: str
    memory_mb: float | None
    seconds: float


class Loader:
    """Loads and unloads models of this process. seconds: that a load may take, None = any time."""

    def __init__(
        self,
        engines: Engines,
        gauge: Gauge,
        ledger: Ledger,
        fitting: Fitting,
        publish: Publish,
        seconds: float | None,
    ) -> None:
        self._engines = engines
        self._gauge = gauge
        self._ledger = ledger
        self._fitting = fitting
        self._publish = publish
        self._seconds = seconds
        self._log = structlog.get_logger("lifecycle")

    async def load(self, attempt: Attempt, make_room: MakeRoom, staged: Callable[[], None]) -> Loaded:
        """Bring the model into memory. Raises BackendError; then nothing of it is left behind. staged: told of new stages."""
        started = asyncio.get_running_loop().time()
        name = attempt.entry.name
        try:
            async with asyncio.timeout(self._seconds) as limit:
                loaded = await self._load(attempt, make_room, staged, started)
        except BackendError as error:
            raise self._failed(attempt, error) from error.__cause__
        except TimeoutError as error:
            if limit.expired():
                message = (
                    f"Loading `{name}` took longer than {self._seconds:g} s; set SWITCHBOARD_LOAD_TIMEOUT_SECONDS."
                )
                raise self._failed(attempt, LoadTimedOut(message, retry_after=5.0)) from error
            raise self._failed(attempt, _unexpected(name)) from error
        except Exception as error:
            failed = self._failed(attempt, _unexpected(name))
            self._log.exception("unexpected error in a load", model=name)
            raise failed from error
        loaded = await self._learned(attempt, loaded)
        self._log.info(
            "model ready", model=name, seconds=round(loaded.seconds, 2), memory_mb=_rounded(loaded.memory_mb)
        )
        self._publish(
            LoadCompleted(
                model_id=name,
                model_type=TYPES[attempt.entry.task],
                load_time_ms=round(loaded.seconds * 1e3),
                memory_usage_mb=_rounded(loaded.memory_mb),
            )
        )
        return loaded

    async def unload(self, entry: ModelEntry, model: ModelSpec) -> float | None:
        """Take the model out of memory: MB that this freed, None where that cannot be told."""
        device = await self._fitting.device(placed(self._engines.spec(entry.engine), model))
        async with self._gauge.growth(device) as growth:
            self._gauge.moves(growth)
            await self._engines[entry.engine].unload(model)
            taken = await self._gauge.taken(growth)
        return None if taken is None else max(0.0, -taken)

    async def _load(self, attempt: Attempt, make_room: MakeRoom, staged: Callable[[], None], started: float) -> Loaded:
        entry, model = attempt.entry, attempt.model
        backend = await self._engines.make(entry.engine)
        need = await self._fitting.need(entry, model)
        expected = self._ledger.expected(self._engines.spec(entry.engine), model).seconds
        self._publish(
            LoadStarted(
                model_id=entry.name,
                model_type=TYPES[entry.task],
                estimated_load_time_ms=None if expected is None else round(expected * 1e3),
                memory_required_mb=_rounded(need.mb),
            )
        )
        await self._fitting.fit(need, make_room)
        async with self._gauge.growth(need.device) as growth:
            sampling = asyncio.create_task(self._sample(attempt, growth))
            try:
                await self._bring(backend, attempt, growth, staged)
            except BaseException:
                with suppress(BackendError):
                    await backend.unload(model)
                raise
            finally:
                sampling.cancel()
                await asyncio.gather(sampling, return_exceptions=True)
            # What a conversion needed for a while is not what the model holds.
            await asyncio.to_thread(trim)
            taken = await self._gauge.taken(growth)
        seconds = asyncio.get_running_loop().time() - started
        return Loaded(model, need.device, None if taken is None else max(0.0, taken), seconds)

    async def _bring(self, backend: Backend, attempt: Attempt, growth: Growth, staged: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()

        def note(progress: Progress) -> None:
            stage = attempt.standing.stage if attempt.standing else None
            attempt.standing = advanced(attempt.standing, progress)
            if progress.stage != "download":
                self._gauge.moves(growth)
            if attempt.standing.stage != stage:
                self._log.info("model loading", model=attempt.entry.name, stage=attempt.standing.stage)
                staged()
            self._tell(attempt, None)

        def report(progress: Progress) -> None:
            loop.call_soon_threadsafe(note, progress)

        await backend.load(attempt.model, report)
        self._gauge.moves(growth)
        if attempt.warm:
            attempt.standing = warming(attempt.standing)
            self._tell(attempt, None)
            await run_probe(backend, attempt.model)

    async def _sample(self, attempt: Attempt, growth: Growth) -> None:
        """Tell twice a second how far the load is and what it holds by now."""
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            taken = await self._gauge.taken(growth)
            self._tell(attempt, None if taken is None else max(0.0, taken))

    def _tell(self, attempt: Attempt, used_mb: float | None) -> None:
        standing = attempt.standing
        if standing is not None:
            self._publish(
                LoadProgress(
                    model_id=attempt.entry.name,
                    progress=standing.percent,
                    stage=standing.stage,
                    memory_used_mb=_rounded(used_mb),
                )
            )

    def _failed(self, attempt: Attempt, error: BackendError) -> BackendError:
        # In full: no request's words can be in it, and its paths are for the operator alone.
        cause = {} if error.__cause__ is None else {"cause": repr(error.__cause__)}
        self._log.error("model load failed", model=attempt.entry.name, error=error.message, **cause)
        self._publish(failure(attempt.entry, error))
        return error

    async def _learned(self, attempt: Attempt, loaded: Loaded) -> Loaded:
        """The load, remembered; with what an earlier one of the same model held, where its own could not be measured."""
        fetched = attempt.standing is not None and attempt.standing.first != "loading_weights"
        engine = self._engines.spec(attempt.entry.engine)
        # What was downloaded or converted is there next time: such a load teaches nothing about later ones.
        if not fetched:
            await self._ledger.learn(engine, attempt.model, Cost(loaded.seconds, loaded.memory_mb))
        if loaded.memory_mb is not None:
            return loaded
        return replace(loaded, memory_mb=self._ledger.expected(engine, attempt.model).memory_mb)


def _unexpected(name: str) -> BackendError:
    return Broken(f"Loading `{name}` failed; the server's log says why.")


def _rounded(mb: float | None) -> float | None:
    return None if mb is None else round(mb, 1)
