"""The backends of one app, each made when it is first needed: torch is not imported for a proxy of remote engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from backends import REMOTE
from backends.base import Backend, EngineSpec, Health
from backends.errors import Unavailable

Create: TypeAlias = Callable[[EngineSpec], Backend]


class Engines:
    """Owner of the backends. Remote ones exist from the start, one for each base URL; pipelines come with their first load."""

    def __init__(self, specs: Mapping[str, EngineSpec], create: Create) -> None:
        self._specs = specs
        self._create = create
        self._making: dict[str, asyncio.Lock] = {}
        self._replicas = {
            name: tuple(create(each) for each in by_url(spec)) for name, spec in specs.items() if spec.kind in REMOTE
        }
        self._backends = {name: replicas[0] for name, replicas in self._replicas.items()}

    def __getitem__(self, name: str) -> Backend:
        """The backend of an engine that was made before. Raises KeyError if it was not."""
        return self._backends[name]

    def spec(self, name: str) -> EngineSpec:
        """The engine as configured. Raises KeyError if it was not."""
        return self._specs[name]

    def remote(self, name: str) -> bool:
        """Whether the engine runs elsewhere, and loads its models by itself."""
        return self._specs[name].kind in REMOTE

    def replicas(self, name: str) -> tuple[Backend, ...]:
        """The backends of a remote engine, in the order of its base URLs; none for a pipeline of this process."""
        return self._replicas.get(name, ())

    async def make(self, name: str) -> Backend:
        """The backend, made now if need be, off the event loop: imports take seconds. Raises Unavailable."""
        async with self._making.setdefault(name, asyncio.Lock()):
            if name not in self._backends:
                self._backends[name] = await asyncio.to_thread(self._import, self._specs[name])
        return self._backends[name]

    async def health(self, name: str) -> Health:
        """What the engine says of itself; of several replicas, the first that can take work. Raises Unavailable."""
        backends = self.replicas(name) or (await self.make(name),)
        told = await asyncio.gather(*(backend.health() for backend in backends))
        return next((health for health in told if health.ok), told[0])

    async def close(self) -> None:
        """Close every backend."""
        everything = {id(backend): backend for backend in self._backends.values()}
        everything |= {id(backend): backend for replicas in self._replicas.values() for backend in replicas}
        for backend in everything.values():
            await backend.close()

    def _import(self, spec: EngineSpec) -> Backend:
        try:
            return self._create(spec)
        except ModuleNotFoundError as error:
            message = f"Engine `{spec.name}` ({spec.kind}) needs a package that is not installed: {error.name}. "
            raise Unavailable(f"{message}Install the extra `models`, or requirements/cpu.lock.") from error


def by_url(spec: EngineSpec) -> list[EngineSpec]:
    """The engine as its replicas see it: each with one base URL, and a name that tells it from the others."""
    if len(spec.urls) < 2:
        return [spec]
    return [replace(spec, name=f"{spec.name}#{number}", urls=(url,)) for number, url in enumerate(spec.urls, 1)]
