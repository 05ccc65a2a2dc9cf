"""The backends of one app, each made when it is first needed: torch is not imported for a proxy of remote engines."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from backends import REMOTE
from backends.base import Backend, EngineSpec, Health
from backends.errors import Unavailable
from backends.launch import Launch
from proxy.lifecycle.ports import Ports

Create: TypeAlias = Callable[[EngineSpec], Backend]


@dataclass(frozen=True, slots=True)
class Made:
    """A backend and what it was made from; of a remote engine that has one base URL, and a name that no other has."""

    spec: EngineSpec
    backend: Backend


class Engines:
    """Owner of the backends. Remote ones exist from the start, one for each base URL; pipelines come with their first load."""

    def __init__(self, specs: Mapping[str, EngineSpec], create: Create) -> None:
        self._create = create
        self._ports = Ports()
        self._configured = self._specs = specs
        self._replicas: dict[str, tuple[Made, ...]] = {}
        self._replicas = self.replicas_for(specs)
        self._pipelines: dict[str, Backend] = {}
        self._making: dict[str, asyncio.Lock] = {}

    def __getitem__(self, name: str) -> Backend:
        """The backend of an engine that was made before. Raises KeyError if it was not."""
        replicas = self._replicas.get(name)
        return replicas[0].backend if replicas else self._pipelines[name]

    def spec(self, name: str) -> EngineSpec:
        """The engine as configured. Raises Unavailable when it is not, any more."""
        spec = self._specs.get(name)
        if spec is None:
            raise Unavailable(f"The engine `{name}` has left the configuration; try again.", retry_after=1)
        return spec

    def configured(self, name: str) -> bool:
        """Whether there is such an engine, now that the configuration may have changed."""
        return name in self._configured

    def launch(self, name: str) -> Launch | None:
        """How the engine is started here; None where it is not, or is configured no more."""
        spec = self._specs.get(name)
        return None if spec is None else spec.launch

    def remote(self, name: str) -> bool:
        """Whether the engine runs elsewhere, and loads its models by itself. Raises as spec does."""
        return self.spec(name).kind in REMOTE

    def replicas(self, name: str) -> tuple[Made, ...]:
        """What serves a remote engine, in the order of its base URLs; nothing for a pipeline of this process."""
        return self._replicas.get(name, ())

    async def make(self, name: str) -> Backend:
        """The backend, made now if need be, off the event loop: imports take seconds. Raises Unavailable."""
        if self._replicas.get(name):
            return self[name]
        async with self._making.setdefault(name, asyncio.Lock()):
            while name not in self._pipelines:
                spec = self.spec(name)
                backend = await asyncio.to_thread(self._import, spec)
                if self._specs.get(name) == spec:
                    self._pipelines[name] = backend
                else:
                    await backend.close()
            return self._pipelines[name]

    def replicas_for(self, specs: Mapping[str, EngineSpec]) -> dict[str, tuple[Made, ...]]:
        """What would serve these remote engines: the replicas there are, where they are as wanted, and new ones.

        May block: it imports. Raises ValueError for an engine that none can be made of.
        """
        return {name: tuple(self._replica(name, spec)) for name, spec in specs.items() if spec.kind in REMOTE}

    def configure(self, specs: Mapping[str, EngineSpec], replicas: dict[str, tuple[Made, ...]]) -> tuple[str, ...]:
        """Have these engines from now on, and their replicas; those that are no more are for whoever uses them to close.

        Pipelines that are made, and are configured otherwise now, stay as they are until exchange(): their names are returned.
        """
        stale = {name: self._specs[name] for name in self._pipelines if specs.get(name) != self._specs[name]}
        self._configured, self._specs, self._replicas = specs, {**specs, **stale}, replicas
        return tuple(stale)

    async def exchange(self, name: str) -> None:
        """Close a pipeline that nothing uses any more; it is made anew, as it is configured by now, when it is needed."""
        async with self._making.setdefault(name, asyncio.Lock()):
            specs = {**self._specs, name: self._configured.get(name)}
            self._specs = {each: spec for each, spec in specs.items() if spec is not None}
            await self._pipelines.pop(name).close()

    async def health(self, name: str) -> Health:
        """What the engine says of itself; of several replicas, the first that can take work. Raises Unavailable."""
        backends = [made.backend for made in self.replicas(name)] or [await self.make(name)]
        told = await asyncio.gather(*(backend.health() for backend in backends))
        return next((health for health in told if health.ok), told[0])

    async def close(self) -> None:
        """Close every backend."""
        remote = [made.backend for made in itertools.chain(*self._replicas.values())]
        for backend in (*remote, *self._pipelines.values()):
            await backend.close()
        self._ports.close()

    def _replica(self, name: str, spec: EngineSpec) -> Iterable[Made]:
        here = self._replicas.get(name, ())
        for wanted in by_url(self._ports.addressed(spec), [made.spec for made in here]):
            there = next((made for made in here if made.spec == wanted), None)
            yield there or Made(wanted, self._create(wanted))

    def _import(self, spec: EngineSpec) -> Backend:
        try:
            return self._create(spec)
        except ModuleNotFoundError as error:
            message = f"Engine `{spec.name}` ({spec.kind}) needs a package that is not installed: {error.name}. "
            raise Unavailable(f"{message}Install the extra `models`, or requirements/cpu.lock.") from error


def by_url(spec: EngineSpec, before: Iterable[EngineSpec] = ()) -> list[EngineSpec]:
    """The engine as its replicas see it: each with one base URL, and a name that tells it from the others.

    before: its replicas until now; those that are as they were keep their names.
    """
    kept = {each.urls: each.name for each in before if replace(each, name=spec.name) == replace(spec, urls=each.urls)}
    kept = {urls: name for urls, name in kept.items() if urls[0] in spec.urls}
    if len(spec.urls) < 2:
        return [replace(spec, name=kept.get(spec.urls, spec.name))]
    taken = set(kept.values())
    named = []
    for number, url in enumerate(spec.urls, 1):
        name = kept.get((url,)) or next(
            f"{spec.name}#{n}" for n in itertools.count(number) if f"{spec.name}#{n}" not in taken
        )
        taken.add(name)
        named.append(replace(spec, name=name, urls=(url,)))
    return named
