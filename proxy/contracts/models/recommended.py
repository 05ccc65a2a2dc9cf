"""Which model for what: decided by the catalog's scores and by what the machine can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from proxy.registry.catalog import SpeechFacts
from proxy.registry.catalog_languages import ENGLISH, Family, Spoken

UseCase: TypeAlias = Literal["real_time", "accuracy", "multilingual", "low_resource"]
TARGETS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What models have here. ram_mb, gpu_mb: in 10^6 bytes; gpu_mb None = no GPU."""

    cores: int
    ram_mb: float
    gpu_mb: float | None = None

    def holds(self, model: SpeechFacts) -> bool:
        """Whether the model fits, on the GPU or beside everything else."""
        on_gpu = self.gpu_mb is not None and model.gpu_memory_mb <= self.gpu_mb
        return on_gpu or model.memory_mb <= self.ram_mb

    def keeps_up(self, model: SpeechFacts) -> bool:
        """Whether the model can follow a speaker here."""
        on_gpu = self.gpu_mb is not None and model.gpu_memory_mb <= self.gpu_mb
        return model.real_time and (on_gpu or model.cores <= max(2, self.cores))


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A model for a use, and why."""

    use_case: UseCase
    model_id: str
    reason: str


def recommended_speech(models: Iterable[SpeechFacts], machine: Machine) -> list[Recommendation]:
    """One model for each use that any model of the list is fit for. Models of which nothing was measured come last."""
    fitting = [model for model in models if machine.holds(model)]
    uses: tuple[tuple[UseCase, Sequence[SpeechFacts], Callable[[SpeechFacts], tuple[float, ...]], str], ...] = (
        (
            "real_time",
            [model for model in fitting if machine.keeps_up(model)],
            lambda m: (m.quality, m.speed),
            "the most accurate that keeps up with a speaker on this machine",
        ),
        ("accuracy", fitting, lambda m: (m.quality, m.speed), "the fewest wrong words of all that fit in this machine"),
        (
            "multilingual",
            [model for model in fitting if len(model.languages) > 1],
            lambda m: (m.quality, len(m.languages), m.speed),
            "the most accurate for many languages that fits in this machine",
        ),
        (
            "low_resource",
            fitting,
            lambda m: (m.quality > 0, -m.memory_mb, m.quality),
            "the least memory, and the best of those that need no more",
        ),
    )
    return [
        Recommendation(use_case, best.model_id, _reason(best, why))
        for use_case, candidates, order, why in uses
        if (best := max(candidates, key=order, default=None)) is not None
    ]


def recommended_targets(family: Family, source: str) -> list[Spoken]:
    """The languages into which a translation from this one can be expected to be best."""
    others = [spoken for code, spoken in family.languages.items() if code != source]
    measured = [spoken for spoken in others if spoken.score is not None]
    best = sorted(measured, key=lambda spoken: -(spoken.score or 0))
    english = [spoken for spoken in others if spoken.language.code == ENGLISH]
    return [*english, *best][:TARGETS] if measured else others[:TARGETS]


def _reason(model: SpeechFacts, why: str) -> str:
    figures = [
        f"{model.wer:g} % of words wrong on LibriSpeech" if model.wer is not None else "",
        f"{model.relative_speed:.3g} times as fast as Whisper large" if model.relative_speed is not None else "",
        f"{model.memory_mb} MB",
        f"{len(model.languages)} languages" if len(model.languages) > 1 else "",
    ]
    return f"Of the models here, {why}: {', '.join(filter(None, figures))}."
