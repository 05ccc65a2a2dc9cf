"""By which rules models come and go, as the settings say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from proxy.lifecycle.scheduler import Limits
from proxy.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """wait: seconds that a request waits for its model; load: that a load may take, None = any; pressure: share of the memory
    in use beyond which models that nobody uses go; budget: MB that models and engines may hold together, None = any; file:
    where experience with loads is kept, None = nowhere.
    """

    limits: Limits = field(default_factory=Limits)
    wait: float = 120.0
    load: float | None = None
    pressure: float = 0.8
    budget: float | None = None
    file: Path | None = None


def rules_of(settings: Settings) -> Rules:
    """The rules."""
    idle = settings.lx_auto_unload_timeout_ms / 1000
    return Rules(
        limits=Limits(places=settings.lx_model_cache_size, policy=settings.eviction, idle=idle or None),
        wait=settings.load_wait_seconds,
        load=settings.load_timeout_seconds or None,
        pressure=settings.memory_pressure,
        budget=settings.memory_budget_mb,
        file=settings.data / "loads.json",
    )
