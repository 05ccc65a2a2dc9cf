"""Where a model is computed, and in which arithmetic: what its engine says, and what a session wants instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

from backends.base import EngineSpec
from backends.types import Json
from proxy.registry.models import ModelEntry
from proxy.sessions.config import ComputeType, Device, said_at

_UNSAID = ("default", "auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """What a session says of computing; None = as the engine is configured. cpu_threads: of one call on a CPU."""

    device: Device | None = None
    compute_type: ComputeType | None = None
    cpu_threads: int | None = None


def compute_of(path: str, said: Mapping[str, Json]) -> Compute:
    """What a session says of computing, at the path of a compute_config; it is valid."""
    told = said_at(said, path)
    known = told if isinstance(told, dict) else {}
    return Compute(
        device=cast("Device | None", known.get("device")),
        compute_type=cast("ComputeType | None", known.get("compute_type")),
        cpu_threads=cast("int | None", known.get("cpu_threads")),
    )


def place(entry: ModelEntry, engine: EngineSpec, wanted: Compute, *, cuda: bool) -> ModelEntry:
    """The model computed as wanted: entry itself where that is so anyway, else a load of its own beside it.

    engine: with what entry is loaded with; cuda: whether there is a CUDA device.
    """
    other = wished(engine, wanted, cuda=cuda)
    variant = comes_to(other, cuda=cuda)
    if variant == comes_to(engine, cuda=cuda):
        return entry
    spec = replace(
        entry.spec,
        variant=variant,
        device=other.device,
        compute_type=other.compute_type,
        cpu_threads=other.cpu_threads,
    )
    # What is preloaded never leaves the memory; what a session wants must.
    return replace(entry, spec=spec, preload=False)


def wished(engine: EngineSpec, wanted: Compute, *, cuda: bool) -> EngineSpec:
    """The engine's settings with what is wanted in their place."""
    device = wanted.device or engine.device
    # What an engine is set to compute in on one device may not exist on another.
    moved = device_of(device, cuda=cuda) != device_of(engine.device, cuda=cuda)
    compute_type = wanted.compute_type or ("default" if moved else engine.compute_type)
    return replace(
        engine, device=device, compute_type=compute_type, cpu_threads=wanted.cpu_threads or engine.cpu_threads
    )


def device_of(device: str, *, cuda: bool) -> Literal["cpu", "cuda"]:
    """What `auto` comes to."""
    return "cuda" if device == "cuda" or (device == "auto" and cuda) else "cpu"


def computed_in(engine: EngineSpec, *, cuda: bool) -> ComputeType:
    """The arithmetic of an engine in the contract's words.

    CTranslate2's mixed types are named by their weights. A speech model on CUDA computes as it is stored: mostly in float16.
    """
    compute_type = _arithmetic(engine, device_of(engine.device, cuda=cuda))
    if compute_type.startswith("int8"):
        return "int8"
    return "float32" if compute_type == "float32" else "float16"


def comes_to(engine: EngineSpec, *, cuda: bool) -> str:
    """Device, arithmetic, and threads where they are said: equal for engines that compute alike."""
    device = device_of(engine.device, cuda=cuda)
    threads = f"-{engine.cpu_threads}threads" if engine.cpu_threads and device == "cpu" else ""
    return f"{device}-{_arithmetic(engine, device)}{threads}"


def _arithmetic(engine: EngineSpec, device: Literal["cpu", "cuda"]) -> str:
    """CTranslate2's compute type, as the backends choose it where none is said."""
    if engine.compute_type not in _UNSAID:
        return engine.compute_type
    if engine.kind == "translation":
        return "int8" if device == "cpu" else "float16"
    return "float32" if device == "cpu" else "default"
