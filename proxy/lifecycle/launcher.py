"""The engines that are started here, and the adapters that engines take: who they are, and how they come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from importlib import import_module
from typing import Protocol, TypeAlias, cast
from urllib.parse import urlsplit

import structlog

from backends.base import Adapting, EngineSpec, ModelSpec, Report
from backends.errors import BackendError, Rejected, Unavailable, Unsupported
from backends.launch import Container, Launch, Process
from proxy.address import is_loopback
from proxy.lifecycle.carrier import Carrier
from proxy.lifecycle.engines import Engines
from proxy.lifecycle.gauge import Gauge
from proxy.lifecycle.launched import Launched
from proxy.lifecycle.places import Terms
from proxy.lifecycle.ports import container_name
from proxy.lifecycle.process import ChildProcess
from proxy.lifecycle.requirements import Need
from proxy.lifecycle.resting import Level, depth
from proxy.lifecycle.scheduler import Key, Resident
from proxy.registry.models import ModelEntry, Registry, at

Hold: TypeAlias = Callable[[ModelEntry], AbstractAsyncContextManager[object]]
"""Has an engine run until the block ends."""
Lost: TypeAlias = Callable[[Key, BackendError], None]
"""Told that an engine ended by itself while it served."""


class Outside(Protocol):
    """What brings a model into memory outside this process: an engine that is started, an adapter that an engine takes."""

    async def load(self, model: ModelSpec, report: Report) -> None:
        """Have it serve. Raises BackendError."""

    async def unload(self, model: ModelSpec) -> None:
        """Have it give its memory back. Raises BackendError."""


class Launcher:
    """Owner of the engines that are started here.

    pressure: share of the host's memory in use beyond which it is short; started: told by its name that an engine serves anew.
    """

    def __init__(self, engines: Engines, gauge: Gauge, pressure: float, lost: Lost) -> None:
        self._engines = engines
        self._gauge = gauge
        self._pressure = pressure
        self._lost = lost
        self._launched: dict[str, Launched] = {}
        self._faces: dict[str, ModelEntry] = {}
        self._making: dict[str, asyncio.Lock] = {}
        self._ending: set[str] = set()
        self.started: Callable[[str], None] = lambda _: None
        self._log = structlog.get_logger("engines")

    def serve_from(self, registry: Registry) -> None:
        """These are the models from now on. The first one of an engine stands for it, for as long as there is the engine."""
        first = {
            target.engine: at(entry, target)
            for entry in reversed(registry.models)
            for target in entry.served_by
            if target.spec.adapter is None
        }
        kept = {engine: entry for engine, entry in self._faces.items() if engine in registry.engines}
        self._faces = {**first, **kept}

    def terms(self, entry: ModelEntry) -> Terms | None:
        """How the model comes and goes; None for one of this process, or of an engine that is only watched."""
        if entry.spec.adapter is not None:
            return Terms()
        launch = self._launch(entry.engine)
        return None if launch is None else Terms(launch.idle, launch.evict_cost)

    def key(self, entry: ModelEntry) -> Key:
        """What is loaded for the model: all models of an engine that is started here come and go with it."""
        if entry.spec.adapter is None and self._launch(entry.engine) is not None:
            entry = self._faces.setdefault(entry.engine, entry)
        return Key(entry.engine, entry.spec)

    def carrying(self, entry: ModelEntry) -> ModelEntry | None:
        """For an adapter, what stands for the engine that must run before; None for all else."""
        if entry.spec.adapter is None or self._launch(entry.engine) is None:
            return None
        alone = replace(entry, name=entry.engine, spec=ModelSpec(source=entry.engine, name=entry.engine), aliases=())
        return self._faces.setdefault(entry.engine, alone)

    def refusal(self, entry: ModelEntry) -> Unavailable | None:
        """Why the engine is not to be started now, if it is not."""
        launched = self._launched.get(entry.engine)
        return launched.refusal() if launched is not None and entry.spec.adapter is None else None

    async def of(self, entry: ModelEntry, hold: Hold) -> Outside | None:
        """What brings the model; None for one of this process, or of an engine that is only watched."""
        if entry.spec.adapter is not None:
            carrying = self.carrying(entry)
            return _Adapter(self._engines, entry.engine, nullcontext() if carrying is None else hold(carrying))
        if self._launch(entry.engine) is None:
            # One that is configured no more is there until it has ended.
            return self._launched.get(entry.engine)
        return await self.engine(entry.engine)

    async def engine(self, name: str) -> Launched:
        """The engine, as it is configured by now; one that ran otherwise is ended first. Raises Unavailable."""
        async with self._making.setdefault(name, asyncio.Lock()):
            launched = self._launched.get(name)
            if launched is not None and not self._follows(launched):
                await launched.end()
                launched = None
            if launched is None:
                launched = self._launched[name] = await self._make(self._engines.spec(name))
        return launched

    async def need(self, entry: ModelEntry, learned_mb: float | None) -> Need:
        """What the load is expected to hold, and where: what was said and what was measured before, whichever is more."""
        launch = self._launch(entry.engine)
        if entry.spec.adapter is not None or launch is None:
            # Adapters go where the engine has kept room for them.
            return Need(label=f"`{entry.name}`", source=entry.spec.source, device="cpu", int8=True, mb=None)
        launched = self._launched.get(entry.engine)
        rest = launched.rest_mb if launched is not None and launched.asleep else 0.0
        known = [each for each in (launch.memory_mb, learned_mb) if each is not None]
        return Need(
            label=f"`{entry.name}`",
            source=entry.spec.source,
            device=await self.device(launch),
            int8=True,
            mb=max(0.0, max(known) - rest) if known else None,
        )

    async def device(self, launch: Launch) -> str:
        """Where the engine holds its memory: cpu, cuda for the GPU of this process's models, or cuda:1 for another."""
        if launch.device == "cpu":
            return "cpu"
        room = await self._gauge.room()
        if launch.device in room.more:
            return launch.device
        return "cpu" if room.gpu is None else "cuda"

    def asleep(self, device: str) -> list[Resident]:
        """Engines that sleep, and hold a part of their memory on the device."""
        return [
            Resident(
                key=Key(name, self._faces[name].spec),
                state="unloading" if name in self._ending else "loaded",
                memory_mb=launched.rest_mb,
                outside=True,
                cost=launched.launch.evict_cost or 0.0,
            )
            for name, launched in self._launched.items()
            if launched.asleep and launched.device == device
        ]

    def sleepers(self) -> list[str]:
        """The engines that sleep, on whichever device, the one first that sleeps for longest."""
        asleep = [launched for name, launched in self._launched.items() if launched.asleep and name not in self._ending]
        return [launched.name for launched in sorted(asleep, key=lambda launched: launched.rests_since)]

    async def end(self, name: str) -> None:
        """Stop an engine that sleeps. Raises Unavailable when it cannot be ended."""
        self._ending.add(name)
        try:
            await self._launched[name].end()
        finally:
            self._ending.discard(name)

    def sleeps(self, name: str) -> bool:
        """Whether the engine is asleep."""
        return name in self._launched and self._launched[name].asleep

    async def found(self) -> list[ModelEntry]:
        """What stands for those engines that run already, of an earlier life of this proxy or by another hand."""
        there = []
        for name, entry in [*self._faces.items()]:
            launch = self._launch(name)
            if launch is None or not isinstance(launch.by, Container):
                continue
            try:
                if await (await self.engine(name)).adoptable():
                    there.append(entry)
            except BackendError as error:
                self._log.warning("engine cannot be looked for", engine=name, error=error.message)
        return there

    def given_up(self) -> frozenset[str]:
        """Engines that were started here, and are configured so no more."""
        return frozenset(name for name in self._launched if self._launch(name) is None)

    async def configure(self) -> list[Key]:
        """The engines have changed: end those that are configured no more; returned are those that are configured otherwise."""
        changed = []
        for name, launched in [*self._launched.items()]:
            if self._launch(name) is None:
                del self._launched[name]
                await launched.end()
            elif not self._follows(launched):
                changed.append(Key(name, self._faces[name].spec))
        return changed

    async def close(self) -> None:
        """End what lives no longer than the proxy, and let go of the rest."""
        results = await asyncio.gather(*(each.close() for each in self._launched.values()), return_exceptions=True)
        for name, result in zip(self._launched, results, strict=True):
            if isinstance(result, BaseException):
                self._log.error("engine was not ended", engine=name, error=repr(result))

    def _launch(self, engine: str) -> Launch | None:
        return self._engines.launch(engine)

    def _follows(self, launched: Launched) -> bool:
        """Whether the engine is as it is configured by now, or is so from now on."""
        (made,) = self._engines.replicas(launched.name)
        launch = made.spec.launch
        if launched.backend is made.backend or launch is None:
            return launch is not None
        return launched.follow(launch, made.backend, made.spec.urls[0])

    async def _make(self, spec: EngineSpec) -> Launched:
        launch = spec.launch
        assert launch is not None, "only such engines are made"
        room = await self._gauge.room()
        device = await self.device(launch)
        if launch.sleep and room.gpu_of(device) is None:
            self._log.warning("engines sleep on GPUs alone: this one is stopped when it is idle", engine=spec.name)
        url = self._engines.replicas(spec.name)[0].spec.urls[0]
        return Launched(
            spec.name,
            launch,
            self._engines[spec.name],
            _carrier(spec, url),
            url=url,
            device=device,
            able=room.gpu_of(device) is not None,
            depth=self._depth,
            on_start=lambda: self.started(spec.name),
            on_end=self._ended,
        )

    async def _depth(self, launched: Launched) -> Level:
        room = await self._gauge.room()
        return depth(
            launched.launch.sleep,
            able=launched.able,
            held_mb=launched.held_mb,
            host_mb=room.available,
            pressed=room.used > self._pressure * room.total,
        )

    def _ended(self, launched: Launched, error: BackendError) -> None:
        face = self._faces.get(launched.name)
        if face is not None:
            self._lost(Key(face.engine, face.spec), error)


class _Adapter:
    """Brings one adapter to every replica of its engine that is there; it runs meanwhile."""

    def __init__(self, engines: Engines, engine: str, running: AbstractAsyncContextManager[object]) -> None:
        self._engines = engines
        self._engine = engine
        self._running = running

    async def load(self, model: ModelSpec, report: Report) -> None:
        async with self._running:
            backends = self._backends()
            gone = [await self._asked(backend.load_adapter(model), model) for backend in backends]
        # One that comes back without it says so, and then it is loaded everywhere again.
        if None not in gone:
            raise next(filter(None, gone))

    async def unload(self, model: ModelSpec) -> None:
        # An engine that does not run has none.
        for backend in self._backends():
            await self._asked(backend.unload_adapter(model), model)

    def _backends(self) -> list[Adapting]:
        backends = [made.backend for made in self._engines.replicas(self._engine)]
        able: list[Adapting] = [backend for backend in backends if isinstance(backend, Adapting)]
        if not able or len(able) < len(backends):
            raise Unsupported(f"Engine {self._engine!r} takes no adapters.")
        return able

    async def _asked(self, asking: Awaitable[None], model: ModelSpec) -> Unavailable | None:
        """Have one replica do it; what was met where nothing is there. Raises BackendError where it refuses."""
        try:
            await asking
        except Unavailable as error:
            structlog.get_logger("engines").warning(
                "adapter's engine is not there", engine=self._engine, adapter=model.adapter, error=error.message
            )
            return error
        except Rejected as error:
            said = error.body[:500].decode(errors="replace")
            structlog.get_logger("engines").error(
                "adapter refused", engine=self._engine, adapter=model.adapter, status=error.status, said=said
            )
            message = f"Engine {self._engine!r} does not take the adapter {model.label!r}: it answered {error.status}. "
            raise Unavailable(f"{message}See the proxy's log; vLLM must run with --enable-lora.") from None
        return None


def _carrier(spec: EngineSpec, url: str) -> Carrier:
    """What the engine runs in. The client of Docker is imported with the first container."""
    launch = spec.launch
    assert launch is not None, "only such engines have one"
    parts = urlsplit(url)
    port = parts.port or 80
    if isinstance(launch.by, Process):
        return ChildProcess(spec.name, launch.by, port, launch.grace)
    make = cast("Callable[..., Carrier]", import_module("proxy.lifecycle.containers").DockerContainer)
    here = parts.hostname is not None and is_loopback(parts.hostname)
    published = port if here and launch.by.image is not None and launch.by.network is None else None
    return make(spec.name, container_name(spec.name), launch, published)
