"""Which models there are: those that are configured, and those of the catalog that could be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from backends.base import EngineSpec
from backends.types import Task
from proxy.registry.catalog import Catalog, SpeechFacts, TranslationFacts
from proxy.registry.catalog_files import Architecture
from proxy.registry.catalog_local import read_local
from proxy.registry.models import ModelEntry, Registry

ARCHITECTURES: Mapping[str, Architecture] = {"marian": "opus-mt", "mbart": "mbart", "m2m_100": "m2m"}

F = TypeVar("F", SpeechFacts, TranslationFacts)


@dataclass(frozen=True, slots=True)
class Listed(Generic[F]):
    """A model of the list. engine: its own, None = it is in the catalog alone; here: in this process."""

    facts: F
    engine: EngineSpec | None = None
    here: bool = True

    @property
    def diarizes(self) -> bool:
        """Whether its engine can say who speaks."""
        return self.here and self.engine is not None and self.engine.diarization_model is not None


def listed_speech(catalog: Catalog, registry: Registry) -> list[Listed[SpeechFacts]]:
    """All speech models, configured ones first. Blocks where a directory has to be looked into."""
    return _listed(registry, "transcription", catalog.speech, lambda entry: _own_speech(entry, catalog))


def listed_translation(catalog: Catalog, registry: Registry) -> list[Listed[TranslationFacts]]:
    """All translation models, configured ones first. Blocks where a directory has to be looked into."""
    return _listed(registry, "translation", catalog.translation, lambda entry: _own_translation(entry, catalog))


def _listed(registry: Registry, task: Task, known: Mapping[str, F], own: Callable[[ModelEntry], F]) -> list[Listed[F]]:
    configured = {entry.name: entry for entry in registry.models if entry.task == task}
    listed = [
        Listed(_facts(entry, known) or own(entry), registry.engines[entry.engine], registry.in_process(entry))
        for entry in configured.values()
    ]
    listed.extend(Listed(facts) for facts in known.values() if not facts.shipped and facts.model_id not in configured)
    return listed


def _facts(entry: ModelEntry, known: Mapping[str, F]) -> F | None:
    """What the catalog knows of a configured model: by where it comes from, and of those shipped by name."""
    facts = known.get(entry.spec.source) or known.get(entry.name)
    return None if facts is None else replace(facts, model_id=entry.name)


def _own_speech(entry: ModelEntry, catalog: Catalog) -> SpeechFacts:
    found = read_local(entry.spec.source)
    return SpeechFacts(
        model_id=entry.name,
        display_name=entry.name,
        languages=found.languages,
        parameters=found.parameters,
        checkpoint_mb=found.checkpoint_mb,
        relative_speed=catalog.speech_speed(found.parameters) if found.parameters else None,
    )


def _own_translation(entry: ModelEntry, catalog: Catalog) -> TranslationFacts:
    found = read_local(entry.spec.source)
    pair = found.pair if found.pair and set(found.pair) <= set(catalog.atlas.languages) else None
    return TranslationFacts(
        model_id=entry.name,
        display_name=entry.name,
        provider="opus" if found.kind == "marian" else "facebook",
        architecture=ARCHITECTURES.get(found.kind, "m2m"),
        family=catalog.atlas.listed(pair or ()),
        pair=pair,
        parameters=found.parameters,
        checkpoint_mb=found.checkpoint_mb,
    )
