"""Models that are ready, and who uses them: one that is to go stays until its last request has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from backends.base import ModelSpec
from backends.errors import Unavailable

Engine = TypeVar("Engine")


@dataclass(slots=True)
class _Place(Generic[Engine]):
    engine: Engine
    requests: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class Loaded(Generic[Engine]):
    """What runs each loaded model, by the model."""

    def __init__(self) -> None:
        self._places: dict[ModelSpec, _Place[Engine]] = {}

    def __contains__(self, model: ModelSpec) -> bool:
        return model in self._places

    def __iter__(self) -> Iterator[Engine]:
        return iter([place.engine for place in self._places.values()])

    def add(self, model: ModelSpec, engine: Engine) -> None:
        """The model is ready from now on."""
        self._places[model] = _Place(engine)

    @contextmanager
    def used(self, model: ModelSpec) -> Iterator[Engine]:
        """The model's engine, which removed() does not give away before the block ends. Raises Unavailable."""
        place = self._places.get(model)
        if place is None:
            raise Unavailable(f"{model.label} is not loaded; load it first.")
        place.requests += 1
        try:
            yield place.engine
        finally:
            place.requests -= 1
            if not place.requests:
                place.idle.set()

    async def removed(self, model: ModelSpec) -> Engine | None:
        """The model's engine once nobody uses it, and nobody can from now on; None when it was not there."""
        place = self._places.pop(model, None)
        if place is None:
            return None
        if place.requests:
            place.idle.clear()
            await place.idle.wait()
        return place.engine

    def clear(self) -> list[Engine]:
        """Forget every model at once; returns what ran them, used or not."""
        places, self._places = self._places, {}
        return [place.engine for place in places.values()]
