"""The catalog's files as they are written: their fields, and what may stand in them."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Level: TypeAlias = Literal["high", "medium", "low"]
SpeechProvider: TypeAlias = Literal["openai", "facebook", "microsoft", "google"]
TranslationProvider: TypeAlias = Literal["facebook", "google", "microsoft", "opus"]
Architecture: TypeAlias = Literal["nllb", "m2m", "mbart", "opus-mt"]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class SpeechRow(_Row):
    """A Whisper model. wer: percent; rtfx: seconds of audio per second; relative_speed: large = 1."""

    model_id: str
    display_name: str
    languages: Literal["english", "multilingual", "multilingual-v3"]
    parameters: int = Field(gt=0)
    checkpoint_mb: float = Field(gt=0)
    wer: float | None = Field(None, ge=0)
    rtfx: float | None = Field(None, gt=0)
    relative_speed: float | None = Field(None, gt=0)
    shipped: bool = False


class SpeechFile(_Row):
    """speech.toml. languages: those of every multilingual model."""

    languages: tuple[str, ...]
    models: tuple[SpeechRow, ...]


class TranslationRow(_Row):
    """A translation model: of a family, for one pair (source and target), or between the languages it lists."""

    model_id: str
    display_name: str
    provider: TranslationProvider
    architecture: Architecture
    family: str | None = None
    source: str | None = None
    target: str | None = None
    languages: tuple[str, ...] = ()
    parameters: int = Field(gt=0)
    checkpoint_mb: float = Field(gt=0)
    spbleu: float | None = Field(None, ge=0)
    tatoeba_bleu: float | None = Field(None, ge=0)
    shipped: bool = False


class TranslationFile(_Row):
    """translation.toml."""

    models: tuple[TranslationRow, ...]


class FamilyTable(_Row):
    """Languages that several models share. codes: as the models write them; spbleu: from English into each."""

    codes: tuple[str, ...]
    spbleu: dict[str, float] = {}


class LanguageRow(_Row):
    """A language. iso: its ISO 639-3 code; native: its name in itself; script: in English."""

    iso: str = Field(pattern="^[a-z]{3}$")
    name: str
    native: str
    script: str
    resource: Level


class VariantRow(_Row):
    """A language in one of its scripts."""

    code: str
    name: str
    region: str


class LanguagesFile(_Row):
    """languages.toml. variants: by language, then by the script's ISO 15924 code."""

    languages: dict[str, LanguageRow]
    variants: dict[str, dict[str, VariantRow]]


def read_speech() -> SpeechFile:
    """speech.toml, checked. Blocks."""
    return SpeechFile.model_validate(_read("speech.toml"))


def read_translation() -> TranslationFile:
    """translation.toml, checked. Blocks."""
    return TranslationFile.model_validate(_read("translation.toml"))


def read_families() -> dict[str, FamilyTable]:
    """translation_families.toml, checked: by name. Blocks."""
    return {name: FamilyTable.model_validate(table) for name, table in _read("translation_families.toml").items()}


def read_languages() -> LanguagesFile:
    """languages.toml, checked. Blocks."""
    return LanguagesFile.model_validate(_read("languages.toml"))


def _read(name: str) -> dict[str, object]:
    return tomllib.loads(files("proxy.registry").joinpath("data", name).read_text(encoding="utf-8"))
