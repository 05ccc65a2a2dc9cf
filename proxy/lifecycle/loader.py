"""One load from its need to its measure, and one unload; what happens on the way is published."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeAlias

import structlog

from backends.base import ModelSpec, Progress, placed
from backends.errors import BackendError, Broken, LoadTimedOut
from backends.inprocess.memory import trim
from proxy.events.values import Event, LoadCompleted, LoadProgress, LoadStarted, ModelType
from proxy.lifecycle.engines import Engines
from proxy.lifecycle.experience import Cost
from proxy.lifecycle.fitting import Fitting
from proxy.lifecycle.gauge import Gauge, Growth
from proxy.lifecycle.launched import Launched
from proxy.lifecycle.launcher import Hold, Launcher, Outside
from proxy.lifecycle.ledger import Ledger
from proxy.lifecycle.outcomes import failure
from proxy.lifecycle.places import Attempt
from proxy.lifecycle.probe import run_probe
from proxy.lifecycle.progress import advanced, warming
from proxy.lifecycle.requirements import Need
from proxy.registry.models import ModelEntry

SAMPLE_SECONDS = 0.5

TYPES: dict[str, ModelType] = {"transcription": "asr", "translation": "mt", "text": "text", "pipeline": "pipeline"}

Publish: TypeAlias = Callable[[Event], None]
MakeWay: TypeAlias = Callable[[Attempt, Need], Awaitable[None]]
"""Return when there is room for a load. Raises OutOfMemory."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory. memory_mb: measured, None = could not be told apart from what others did meanwhile."""

    model: ModelSpec
    device: str
    memory_mb: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class _Bringing:
    """A load that is about to move memory. expected: seconds that it took before."""

    bringer: Outside
    attempt: Attempt
    staged: Callable[[], None]
    expected: float | None


class Loader:
    """Loads and unloads models of this process, engines and adapters. seconds: that a load in here may take, None = any time.

    hold: has an engine run while an adapter is loaded on it.
    """

    def __init__(
        self,
        engines: Engines,
        gauge: Gauge,
        ledger: Ledger,
        fitting: Fitting,
        launcher: Launcher,
        publish: Publish,
        seconds: float | None,
        hold: Hold,
    ) -> None:
        self._engines = engines
        self._gauge = gauge
        self._ledger = ledger
        self._fitting = fitting
        self._launcher = launcher
        self._hold = hold
        self._publish = publish
        self._seconds = seconds
        self._log = structlog.get_logger("lifecycle")

    async def load(self, attempt: Attempt, make_way: MakeWay, staged: Callable[[], None]) -> Loaded:
        """Bring the model into memory. Raises BackendError; then nothing of it is left behind. staged: told of new stages."""
        name = attempt.entry.name
        try:
            async with asyncio.timeout(self._seconds) as limit:
                outside = await self._launcher.of(attempt.entry, self._hold)
                if outside is not None:
                    # An engine has its own bound, and what it waits for before is not its fault.
                    limit.reschedule(None)
                loaded = await self._load(attempt, outside, make_way, staged)
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

    async def unload(self, entry: ModelEntry, model: ModelSpec, *, rest: bool) -> float | None:
        """Take the model out of memory: MB that this freed, None where that cannot be told. rest: an engine may sleep instead."""
        outside = await self._launcher.of(entry, self._hold)
        if outside is not None and not isinstance(outside, Launched):
            await outside.unload(model)
            return None
        if outside is None:
            device = await self._fitting.device(placed(self._engines.spec(entry.engine), model))
        else:
            device = outside.device
        async with self._gauge.growth(device) as growth:
            self._gauge.moves(growth)
            if rest and outside is not None:
                await outside.rest()
            else:
                await (outside or self._engines[entry.engine]).unload(model)
            taken = await self._gauge.taken(growth)
        freed = None if taken is None else max(0.0, -taken)
        if outside is not None:
            outside.rested(freed)
        return freed

    async def _load(
        self, attempt: Attempt, outside: Outside | None, make_way: MakeWay, staged: Callable[[], None]
    ) -> Loaded:
        entry = attempt.entry
        clock = asyncio.get_running_loop().time
        started = clock()
        bringer = outside or await self._engines.make(entry.engine)
        # To wake an engine up takes other times than to start it.
        asleep = isinstance(outside, Launched) and outside.asleep
        known_as = replace(attempt.model, variant="asleep") if asleep else attempt.model
        expected = self._ledger.expected(self._engines.spec(entry.engine), known_as)
        need = await (self._fitting.need(entry, attempt.model) if outside is None else self._need(entry, attempt.model))
        self._publish(
            LoadStarted(
                model_id=entry.name,
                model_type=TYPES[entry.task],
                estimated_load_time_ms=None if expected.seconds is None else round(expected.seconds * 1e3),
                memory_required_mb=_rounded(need.mb),
            )
        )
        await make_way(attempt, need)
        if outside is not None:
            started = clock()
        bringing = _Bringing(bringer, attempt, staged, expected.seconds)
        taken = None
        if outside is None or isinstance(outside, Launched):
            taken = await self._measured(bringing, need.device)
        else:
            await self._bring(bringing, None)
        cost = Cost(clock() - started, None if taken is None or asleep else max(0.0, taken))
        if outside is None:
            cost = _held_before(cost, expected)
        held = await self._learned(attempt, known_as, cost)
        if isinstance(outside, Launched):
            held = outside.holds(held)
        return Loaded(attempt.model, need.device, held, cost.seconds or 0.0)

    async def _need(self, entry: ModelEntry, model: ModelSpec) -> Need:
        """What a load outside this process is expected to hold."""
        learned = self._ledger.expected(self._engines.spec(entry.engine), model).memory_mb
        return await self._launcher.need(entry, learned)

    async def _measured(self, bringing: _Bringing, device: str) -> float | None:
        """Bring a model into memory: MB more than before, None where that cannot be told."""
        async with self._gauge.growth(device) as growth:
            sampling = asyncio.create_task(self._sample(bringing.attempt, growth))
            try:
                await self._bring(bringing, growth)
            except BaseException:
                with suppress(BackendError):
                    await bringing.bringer.unload(bringing.attempt.model)
                raise
            finally:
                sampling.cancel()
                await asyncio.gather(sampling, return_exceptions=True)
            # What a conversion needed for a while is not what the model holds.
            await asyncio.to_thread(trim)
            return await self._gauge.taken(growth)

    async def _bring(self, bringing: _Bringing, growth: Growth | None) -> None:
        loop = asyncio.get_running_loop()
        attempt, expected = bringing.attempt, bringing.expected

        def note(progress: Progress) -> None:
            stage = attempt.standing.stage if attempt.standing else None
            if progress.total is None and expected:
                # Engines do not say how far they are: it is told by how long it took before.
                progress = replace(progress, total=max(1, int(expected * 1e3)))
            attempt.standing = advanced(attempt.standing, progress)
            if progress.stage != "download" and growth is not None:
                self._gauge.moves(growth)
            if attempt.standing.stage != stage:
                self._log.info("model loading", model=attempt.entry.name, stage=attempt.standing.stage)
                bringing.staged()
            self._tell(attempt, None)

        def report(progress: Progress) -> None:
            loop.call_soon_threadsafe(note, progress)

        await bringing.bringer.load(attempt.model, report)
        if growth is not None:
            self._gauge.moves(growth)
        if attempt.warm:
            attempt.standing = warming(attempt.standing)
            self._tell(attempt, None)
            await run_probe(self._engines[attempt.entry.engine], attempt.model)

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

    async def _learned(self, attempt: Attempt, known_as: ModelSpec, cost: Cost) -> float | None:
        """Remember a load; what it holds, from an earlier one of the same model where its own could not be measured."""
        fetched = attempt.standing is not None and attempt.standing.first != "loading_weights"
        engine = self._engines.spec(attempt.entry.engine)
        # What was downloaded or converted is there next time: such a load teaches nothing about later ones.
        if not fetched:
            await self._ledger.learn(engine, known_as, cost)
        return self._ledger.expected(engine, attempt.model).memory_mb if cost.memory_mb is None else cost.memory_mb


def _held_before(cost: Cost, expected: Cost) -> Cost:
    """What a load in this process cost, where earlier ones held so much: it holds no less, and where it seems to, it lives in
    memory that others were in before and that was never given back.
    """
    if cost.memory_mb is None or expected.memory_mb is None:
        return cost
    return replace(cost, memory_mb=max(cost.memory_mb, expected.memory_mb))


def _unexpected(name: str) -> BackendError:
    return Broken(f"Loading `{name}` failed; the server's log says why.")


def _rounded(mb: float | None) -> float | None:
    return None if mb is None else round(mb, 1)
