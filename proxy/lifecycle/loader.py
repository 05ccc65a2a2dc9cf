"""One load from its check to its measure, and one unload; what happens on the way is published."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import structlog

from backends.base import Backend, EngineSpec, ModelSpec, Progress, placed
from backends.errors import BackendError, Broken, LoadTimedOut, NoDevice, NotCached
from backends.inprocess.cuda import device_count
from backends.inprocess.memory import trim
from proxy.events.values import Event, LoadCompleted, LoadFailed, LoadProgress, LoadStarted, ModelType
from proxy.lifecycle.engines import Engines
from proxy.lifecycle.experience import Cost
from proxy.lifecycle.gauge import Gauge, Growth
from proxy.lifecycle.ledger import Ledger
from proxy.lifecycle.outcomes import error_code
from proxy.lifecycle.places import Attempt
from proxy.lifecycle.probe import run_probe
from proxy.lifecycle.progress import advanced, warming
from proxy.lifecycle.requirements import Consult, Need, arithmetic, needed_mb, refusal, refuse_arithmetic
from proxy.lifecycle.weights import weights_mb
from proxy.registry.models import ModelEntry

SAMPLE_SECONDS = 0.5

TYPES: dict[str, ModelType] = {"transcription": "asr", "translation": "mt", "text": "text", "pipeline": "pipeline"}

Publish: TypeAlias = Callable[[Event], None]
MakeRoom: TypeAlias = Callable[[float, str], Awaitable[None]]
"""Have spare models go for so many MB on a device, as far as there are any."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory. memory_mb: measured, None = could not be told apart from what others did meanwhile."""

    model: ModelSpec
    device: str
    memory_mb: float | None
    seconds: float


class Loader:
    """Loads and unloads models of this process. file: where its experience is kept; seconds: that a load may take."""

    def __init__(
        self,
        engines: Engines,
        gauge: Gauge,
        facts: Consult,
        publish: Publish,
        *,
        seconds: float | None,
        file: Path | None,
    ) -> None:
        self._engines = engines
        self._gauge = gauge
        self._facts = facts
        self._publish = publish
        self._seconds = seconds
        self._ledger = Ledger(file)
        self._log = structlog.get_logger("lifecycle")

    async def recall(self) -> None:
        """Read what past loads taught."""
        await self._ledger.restore()

    def expected_seconds(self, entry: ModelEntry, model: ModelSpec) -> float | None:
        """How long loads of this model took; None = there was none."""
        return self._ledger.expected(self._engines.spec(entry.engine), model).seconds

    async def need(self, entry: ModelEntry, model: ModelSpec, *, strict: bool = False) -> Need:
        """What a load is expected to hold, and where. Raises NoDevice for a GPU that is not there.

        strict: also raises NotCached for a model that is not on this machine while the hub is not to be asked.
        """
        spec = placed(self._engines.spec(entry.engine), model)
        device = await self._device(spec)
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
        device = await self._device(placed(self._engines.spec(entry.engine), model))
        async with self._gauge.growth(device) as growth:
            self._gauge.moves(growth)
            await self._engines[entry.engine].unload(model)
            taken = await self._gauge.taken(growth)
        return None if taken is None else max(0.0, -taken)

    async def _load(self, attempt: Attempt, make_room: MakeRoom, staged: Callable[[], None], started: float) -> Loaded:
        entry, model = attempt.entry, attempt.model
        backend = await self._engines.make(entry.engine)
        need = await self.need(entry, model)
        attempt.expected = self.expected_seconds(entry, model)
        self._publish(
            LoadStarted(
                model_id=entry.name,
                model_type=TYPES[entry.task],
                estimated_load_time_ms=None if attempt.expected is None else round(attempt.expected * 1e3),
                memory_required_mb=_rounded(need.mb),
            )
        )
        await self.fit(need, make_room)
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

    async def _device(self, spec: EngineSpec) -> str:
        """cpu or cuda. Raises NoDevice."""
        if spec.device == "cpu":
            return "cpu"
        found = await asyncio.to_thread(device_count)
        if spec.device.startswith("cuda") and not found:
            raise NoDevice("This machine has no usable CUDA device; load the model on cpu, or with device auto.")
        return "cuda" if found else "cpu"

    async def _learned(self, attempt: Attempt, loaded: Loaded) -> Loaded:
        """The load, remembered; with what an earlier one of the same model held, where its own could not be measured."""
        fetched = attempt.standing is not None and attempt.standing.first != "loading_weights"
        # What was downloaded or converted is there next time: such a load teaches nothing about later ones.
        cost = Cost() if fetched else Cost(loaded.seconds, loaded.memory_mb)
        engine = self._engines.spec(attempt.entry.engine)
        await self._ledger.learn(engine, attempt.model, cost)
        if loaded.memory_mb is not None:
            return loaded
        return replace(loaded, memory_mb=self._ledger.expected(engine, attempt.model).memory_mb)


def failure(entry: ModelEntry, error: BackendError) -> LoadFailed:
    """The event of a load that failed."""
    return LoadFailed(
        model_id=entry.name,
        error_code=error_code(error),
        error_message=error.message,
        required_mb=getattr(error, "required_mb", None),
        available_mb=getattr(error, "available_mb", None),
        suggestions=getattr(error, "suggestions", ()),
    )


def _unexpected(name: str) -> BackendError:
    return Broken(f"Loading `{name}` failed; the server's log says why.")


def _rounded(mb: float | None) -> float | None:
    return None if mb is None else round(mb, 1)
