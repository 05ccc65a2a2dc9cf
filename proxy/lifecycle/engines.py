"""The backends of one app, each made when it is first needed: torch is not imported for a proxy of remote engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeAlias

from backends import REMOTE
from backends.base import Backend, EngineSpec, Relay
from backends.errors import Unavailable

Create: TypeAlias = Callable[[EngineSpec], Backend]


class Engines:
    """Owner of the backends. Remote ones exist from the start; pipelines come with their first load."""

    def __init__(self, specs: Mapping[str, EngineSpec], create: Create) -> None:
        self._specs = specs
        self._create = create
        self._making: dict[str, asyncio.Lock] = {}
        self._backends = {name: create(spec) for name, spec in specs.items() if spec.kind in REMOTE}
        # Looked up once: isinstance of a protocol costs more than the rest of a request's routing.
        self._relays = {name: relay for name, backend in self._backends.items() if (relay := _as_relay(backend))}

    def __getitem__(self, name: str) -> Backend:
        """The backend of an engine that was made before. Raises KeyError if it was not."""
        return self._backends[name]

    def spec(self, name: str) -> EngineSpec:
        """The engine as configured. Raises KeyError if it was not."""
        return self._specs[name]

    def remote(self, name: str) -> bool:
        """Whether the engine runs elsewhere, and loads its models by itself."""
        return self._specs[name].kind in REMOTE

    def relay(self, name: str) -> Relay | None:
        """The engine's relay, or None where it has none (its dialect differs, or it is a pipeline of this process)."""
        return self._relays.get(name)

    async def make(self, name: str) -> Backend:
        """The backend, made now if need be, off the event loop: imports take seconds. Raises Unavailable."""
        async with self._making.setdefault(name, asyncio.Lock()):
            if name not in self._backends:
                self._backends[name] = await asyncio.to_thread(self._import, self._specs[name])
        return self._backends[name]

    async def close(self) -> None:
        """Close every backend."""
        for backend in self._backends.values():
            await backend.close()

    def _import(self, spec: EngineSpec) -> Backend:
        try:
            return self._create(spec)
        except ModuleNotFoundError as error:
            message = f"Engine `{spec.name}` ({spec.kind}) needs a package that is not installed: {error.name}. "
            raise Unavailable(f"{message}Install the extra `models`, or requirements/cpu.lock.") from error


def _as_relay(backend: object) -> Relay | None:
    return backend if isinstance(backend, Relay) else None
