"""Does a model fit? What it needs, what there is, and what to say when that is not enough."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from backends.errors import NoDevice, OutOfMemory

# Share of what float32 takes, which is how facts are published.
_SHRUNK = {"float32": 1.0, "float16": 0.5, "bfloat16": 0.5, "int8_float16": 0.25, "int8": 0.25}
# In what engines compute that are not told, by kind and device; what is not here, as the weights are stored.
_USUAL = {("whisper", "cpu"): "float32", ("translation", "cpu"): "int8", ("translation", "cuda"): "float16"}


class Facts(Protocol):
    """What is known of models before they are ever loaded here."""

    def memory_mb(self, source: str) -> float | None:
        """What the model needs in float32, as published; None = not known."""

    def smaller(self, source: str, fits_mb: float) -> tuple[str, ...]:
        """Other models for the same work that need no more than this, the largest first."""


Consult: TypeAlias = Callable[[], Awaitable[Facts]]


class _Nothing:
    def memory_mb(self, source: str) -> float | None:
        return None

    def smaller(self, source: str, fits_mb: float) -> tuple[str, ...]:
        return ()


async def nothing_known() -> Facts:
    """The facts where there is no catalog."""
    return _Nothing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a model is expected to hold, in MB, None = nobody knows; and on which device. int8: it could not be smaller."""

    label: str
    source: str
    device: str
    int8: bool
    mb: float | None


def arithmetic(kind: str, device: str, compute_type: str) -> str | None:
    """In what a model is computed on an engine of this kind; None = as its weights are stored."""
    told = compute_type not in ("default", "auto")
    return compute_type if told else _USUAL.get((kind, device))


def refuse_arithmetic(kind: str, device: str, compute_type: str) -> None:
    """Raise NoDevice for what no engine of the kind computes in there."""
    if kind in ("whisper", "translation") and device == "cpu" and compute_type == "float16":
        raise NoDevice("CPUs do not compute in float16; load the model in int8 or float32.")
    if kind in ("transformers", "pipelines") and compute_type.startswith("int8"):
        raise NoDevice("Engines of transformers do not compute in int8; load the model in float16 or float32.")


def needed_mb(
    learned: float | None, published: float | None, weights: float | None, arithmetic: str | None
) -> float | None:
    """MB that a load needs: as measured here before, else as published, else the least that its weights take."""
    if learned is not None:
        return learned
    known = published if published is not None else weights
    return None if known is None else known * _SHRUNK.get(arithmetic or "float32", 1.0)


def refusal(need: Need, required_mb: float, available_mb: float, facts: Facts) -> OutOfMemory:
    """The error for a model that does not fit, with what may help."""
    where = "GPU memory" if need.device == "cuda" else "memory"
    alternatives = facts.smaller(need.source, available_mb)
    suggestions = []
    if need.device == "cuda":
        suggestions.append("Use CPU instead of GPU")
    if not need.int8:
        suggestions.append("Try int8 quantization")
    suggestions.append("Use a smaller model variant")
    suggestions.append("Unload models that are not in use")
    return OutOfMemory(
        f"Cannot load {need.label}: it needs {required_mb:.0f} MB of {where}, and {available_mb:.0f} MB are available. "
        "Unload other models, or use a smaller one.",
        retry_after=30.0,
        required_mb=round(required_mb),
        available_mb=round(available_mb),
        suggestions=tuple(suggestions),
        alternatives=alternatives,
    )
