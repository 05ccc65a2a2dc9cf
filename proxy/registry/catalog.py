"""What is known of models before anyone loads them: sizes, languages, quality, speed; shipped, with sources, in data/*.toml."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from proxy.registry.catalog_files import (
    Architecture,
    Level,
    SpeechProvider,
    SpeechRow,
    TranslationProvider,
    TranslationRow,
    read_families,
    read_languages,
    read_speech,
    read_translation,
)
from proxy.registry.catalog_languages import Atlas, Family, Spoken, tier_of
from proxy.registry.catalog_scores import (
    cores,
    memory_mb,
    quality_of_spbleu,
    quality_of_tatoeba,
    quality_of_wer,
    speed_between,
    speed_score,
)

MILLION = 1_000_000
# What nobody has measured scores nothing.
UNKNOWN = 0
REAL_TIME_SPEED = 75
LARGEST_TRANSLATION = 3_344_863_232
NOBODY = Family()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechFacts:
    """A speech model. parameters, checkpoint_mb: 0 = not known; wer: percent of words wrong; rtfx: seconds of audio per second.

    provider: None = not known; relative_speed: Whisper large = 1. shipped: there only where it is configured.
    """

    model_id: str
    display_name: str
    provider: SpeechProvider | None = None
    languages: tuple[str, ...] = ()
    parameters: int = 0
    checkpoint_mb: float = 0
    wer: float | None = None
    rtfx: float | None = None
    relative_speed: float | None = None
    shipped: bool = False

    @property
    def memory_mb(self) -> int:
        """What it holds in float32."""
        return memory_mb(self.parameters)

    @property
    def gpu_memory_mb(self) -> int:
        """What it holds on a GPU, in float16."""
        return memory_mb(self.parameters, 2)

    @property
    def cores(self) -> int:
        """CPU cores that keep up with speech."""
        return cores(self.parameters)

    @property
    def quality(self) -> int:
        """0-100."""
        return UNKNOWN if self.wer is None else quality_of_wer(self.wer)

    @property
    def speed(self) -> int:
        """0-100."""
        return UNKNOWN if self.relative_speed is None else speed_score(self.relative_speed)

    @property
    def real_time(self) -> bool:
        """Whether it can follow a speaker: at least three times as fast as Whisper large."""
        return self.speed >= REAL_TIME_SPEED

    @property
    def size(self) -> Literal["tiny", "small", "medium", "large"] | None:
        """By parameters: tiny below 50 million, small below 300, medium below 900; None = not known."""
        if not self.parameters:
            return None
        steps: tuple[tuple[int, Literal["tiny", "small", "medium"]], ...] = (
            (50, "tiny"),
            (300, "small"),
            (900, "medium"),
        )
        return next((name for limit, name in steps if self.parameters < limit * MILLION), "large")


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslationFacts:
    """A translation model. provider, architecture: None = not known; pair: the one that a bilingual model has, None = any two of
    the family's languages.
    """

    model_id: str
    display_name: str
    provider: TranslationProvider | None = None
    architecture: Architecture | None = None
    family: Family = NOBODY
    pair: tuple[str, str] | None = None
    parameters: int = 0
    checkpoint_mb: float = 0
    spbleu: float | None = None
    tatoeba_bleu: float | None = None
    shipped: bool = False

    @property
    def memory_mb(self) -> int:
        """What it holds in float32."""
        return memory_mb(self.parameters)

    @property
    def quality(self) -> int:
        """0-100."""
        if self.spbleu is not None:
            return quality_of_spbleu(self.spbleu)
        return UNKNOWN if self.tatoeba_bleu is None else quality_of_tatoeba(self.tatoeba_bleu)

    @property
    def speed(self) -> int:
        """0-100, by size: each token takes reading all weights once."""
        return speed_score(LARGEST_TRANSLATION / self.parameters) if self.parameters else UNKNOWN

    @property
    def size(self) -> Literal["small", "medium", "large", "xl"] | None:
        """By parameters: small below 500 million, medium below 1000, large below 2000; None = not known."""
        if not self.parameters:
            return None
        steps: tuple[tuple[int, Literal["small", "medium", "large"]], ...] = (
            (500, "small"),
            (1000, "medium"),
            (2000, "large"),
        )
        return next((name for limit, name in steps if self.parameters < limit * MILLION), "xl")

    @property
    def pairs_count(self) -> int:
        """How many directions it translates, scripts counted apart."""
        return 1 if self.pair else self.family.directions

    def speaks(self, source: str, target: str) -> bool:
        """Whether it translates from the one into the other."""
        if self.pair is not None:
            return self.pair == (source, target)
        return source != target and source in self.family.languages and target in self.family.languages

    def tier(self, spoken: Spoken) -> Level:
        """How well it does a language of its family: where none of these was measured, as well as itself."""
        return spoken.tier if self.family.measured else tier_of(self.quality)

    def pair_quality(self, source: str, target: str) -> int:
        """0-100, of a pair that it speaks: the model's own where no language of its family was measured."""
        score = None if self.pair else self.family.score(source, target)
        return self.quality if score is None else score


Facts: TypeAlias = SpeechFacts | TranslationFacts


class Catalog:
    """The shipped facts, by model id."""

    def __init__(
        self, speech: Mapping[str, SpeechFacts], translation: Mapping[str, TranslationFacts], atlas: Atlas
    ) -> None:
        self.speech = speech
        self.translation = translation
        self.atlas = atlas

    def find(self, model_id: str) -> Facts | None:
        """What is known of a model by its hub id."""
        return self.speech.get(model_id) or self.translation.get(model_id)

    def memory_mb(self, source: str) -> float | None:
        """What the model needs in float32; None = not known."""
        facts = self.find(source)
        return None if facts is None else facts.memory_mb

    def smaller(self, source: str, fits_mb: float) -> tuple[str, ...]:
        """Other models for the same work that need no more than this, the largest first; those with as many languages only."""
        facts = self.find(source)
        if isinstance(facts, SpeechFacts):
            speech = [m for m in self.speech.values() if len(m.languages) > 1 or len(facts.languages) <= 1]
            return _fitting(speech, facts, fits_mb)
        if isinstance(facts, TranslationFacts):
            return _fitting([m for m in self.translation.values() if _replaces(m, facts)], facts, fits_mb)
        return ()

    def speech_speed(self, parameters: int) -> float:
        """The speed of a Whisper of this size, large = 1, where none is published."""
        return speed_between(
            parameters, [(m.parameters, m.relative_speed) for m in self.speech.values() if m.relative_speed is not None]
        )


class Shelf:
    """Where the catalog is kept: read once, when somebody asks, off the event loop."""

    def __init__(self) -> None:
        self._catalog: Catalog | None = None
        self._reading = asyncio.Lock()

    async def open(self) -> Catalog:
        """The catalog."""
        async with self._reading:
            if self._catalog is None:
                self._catalog = await asyncio.to_thread(read_catalog)
            return self._catalog


def read_catalog() -> Catalog:
    """The catalog from its files. Blocks for some milliseconds."""
    atlas = Atlas(read_languages())
    speech = read_speech()
    families = {name: atlas.family(table) for name, table in read_families().items()}
    spoken = {
        "english": ("en",),
        "multilingual": speech.languages,
        "multilingual-v3": (*speech.languages, "yue"),
    }
    known = [(row.parameters, row.relative_speed) for row in speech.models if row.relative_speed is not None]
    return Catalog(
        {row.model_id: _speech(row, spoken[row.languages], known) for row in speech.models},
        {row.model_id: _translation(row, atlas, families) for row in read_translation().models},
        atlas,
    )


def _speech(row: SpeechRow, languages: tuple[str, ...], known: list[tuple[int, float]]) -> SpeechFacts:
    return SpeechFacts(
        model_id=row.model_id,
        display_name=row.display_name,
        provider="openai",
        languages=languages,
        parameters=row.parameters,
        checkpoint_mb=row.checkpoint_mb,
        wer=row.wer,
        rtfx=row.rtfx,
        relative_speed=row.relative_speed or speed_between(row.parameters, known),
        shipped=row.shipped,
    )


def _translation(row: TranslationRow, atlas: Atlas, families: Mapping[str, Family]) -> TranslationFacts:
    pair = (row.source, row.target) if row.source and row.target else None
    return TranslationFacts(
        model_id=row.model_id,
        display_name=row.display_name,
        provider=row.provider,
        architecture=row.architecture,
        family=families[row.family] if row.family else atlas.listed(pair or row.languages),
        pair=pair,
        parameters=row.parameters,
        checkpoint_mb=row.checkpoint_mb,
        spbleu=row.spbleu,
        tatoeba_bleu=row.tatoeba_bleu,
        shipped=row.shipped,
    )


def _replaces(other: TranslationFacts, facts: TranslationFacts) -> bool:
    """Whether the other does the same pair, or is for many pairs too."""
    return other.pair is None if facts.pair is None else other.speaks(*facts.pair)


def _fitting(models: list[SpeechFacts] | list[TranslationFacts], than: Facts, fits_mb: float) -> tuple[str, ...]:
    fitting = [m for m in models if m.memory_mb <= min(fits_mb, than.memory_mb - 1) and not m.shipped]
    return tuple(m.model_id for m in sorted(fitting, key=lambda m: (-m.memory_mb, -m.quality)))
