"""Models that are to be ready before anyone asks for them."""

from __future__ import annotations

from collections.abc import Container, Iterable

from backends.errors import BackendError
from proxy.lifecycle.manager import LifecycleManager
from proxy.registry.models import ModelEntry, Registry, at


def preloaded(registry: Registry, drained: Container[str]) -> list[ModelEntry]:
    """The models that the configuration has loaded, on each of their engines; not on those that are drained."""
    return [
        at(entry, target)
        for entry in registry.models
        if entry.preload
        for target in entry.served_by
        if target.engine not in drained
    ]


async def preload(lifecycle: LifecycleManager, entries: Iterable[ModelEntry]) -> None:
    """Load these for good, one after the other."""
    for entry in entries:
        try:
            await lifecycle.preload(entry)
        except BackendError:
            # The manager has logged it; the first request for this model tries again and tells its caller.
            continue
