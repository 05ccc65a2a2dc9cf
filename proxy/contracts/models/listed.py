"""Which models there are: those that are configured, and those of the catalog that could be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeAlias, TypeVar

from backends.base import EngineSpec
from backends.types import Task
from proxy.registry.catalog import Catalog, SpeechFacts, TranslationFacts
from proxy.registry.catalog_files import Architecture, SpeechProvider, TranslationProvider
from proxy.registry.catalog_local import read_local
from proxy.registry.models import ModelEntry, Registry

Maker: TypeAlias = "tuple[TranslationProvider, Architecture]"
# Who made an architecture counts as the provider of what others trained of it.
ARCHITECTURES: Mapping[str, Maker] = {
    "marian": ("opus", "opus-mt"),
    "mbart": ("facebook", "mbart"),
    "m2m_100": ("facebook", "m2m"),
}
NLLB: Maker = ("facebook", "nllb")
SPEECH_PUBLISHERS: Mapping[str, SpeechProvider] = {
    "openai": "openai",
    "facebook": "facebook",
    "microsoft": "microsoft",
    "google": "google",
}
TRANSLATION_PUBLISHERS: Mapping[str, TranslationProvider] = {
    "facebook": "facebook",
    "google": "google",
    "microsoft": "microsoft",
    "Helsinki-NLP": "opus",
}

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
    found = read_local(entry.spec.source, entry.spec.revision)
    return SpeechFacts(
        model_id=entry.name,
        display_name=entry.name,
        provider=SPEECH_PUBLISHERS.get(_publisher(entry)) or ("openai" if found.kind == "whisper" else None),
        languages=found.languages,
        parameters=found.parameters,
        checkpoint_mb=found.checkpoint_mb,
        relative_speed=catalog.speech_speed(found.parameters) if found.parameters else None,
    )


def _own_translation(entry: ModelEntry, catalog: Catalog) -> TranslationFacts:
    found = read_local(entry.spec.source, entry.spec.revision)
    pair = found.pair if found.pair and set(found.pair) <= set(catalog.atlas.languages) else None
    made = NLLB if found.kind == "m2m_100" and found.tokenizer.startswith("Nllb") else ARCHITECTURES.get(found.kind)
    return TranslationFacts(
        model_id=entry.name,
        display_name=entry.name,
        provider=TRANSLATION_PUBLISHERS.get(_publisher(entry)) or (made[0] if made else None),
        architecture=made[1] if made else None,
        family=catalog.atlas.listed(pair) if pair else catalog.atlas.spoken(found.codes),
        pair=pair,
        parameters=found.parameters,
        checkpoint_mb=found.checkpoint_mb,
    )


def _publisher(entry: ModelEntry) -> str:
    """Whose a model of the hub is; nobody's where it is a directory."""
    return entry.spec.source.partition("/")[0]
