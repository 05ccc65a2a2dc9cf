"""Which languages there are, what they are called, and which of them a family of models speaks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from proxy.registry.catalog_files import FamilyTable, LanguagesFile, Level
from proxy.registry.catalog_scores import quality_of_spbleu

RIGHT_TO_LEFT = frozenset({"Arabic", "Hebrew"})
# The least score of each tier: twice 25 and twice 12.5 of spBLEU.
LEAST: Mapping[Level, int] = MappingProxyType({"high": 50, "medium": 25, "low": 0})
ENGLISH = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A language in one of its scripts, where it is written so."""

    code: str
    name: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A language by the code that clients say."""

    code: str
    name: str
    native: str
    script: str
    resource: Level

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        """Which way it is written."""
        return "rtl" if self.script in RIGHT_TO_LEFT else "ltr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A language as a family of models has it. score: 0-100 into it from English, None = not measured."""

    language: Language
    score: int | None = None
    variants: tuple[Variant, ...] = ()

    @property
    def tier(self) -> Level:
        """How well the models do it: by its score; where there is none, by how much data there is."""
        if self.score is None:
            return self.language.resource
        return tier_of(self.score)

    @property
    def worth(self) -> int:
        """Its score in a pair: where it was not measured, the least of its tier; English is what others were measured from."""
        if self.language.code == ENGLISH:
            return 100
        return LEAST[self.tier] if self.score is None else self.score


def tier_of(score: int) -> Level:
    """How well that is, in words."""
    return next(tier for tier, least in LEAST.items() if score >= least)


@dataclass(frozen=True, eq=False)
class Family:
    """The languages that models share, by code; any of them into any other. directions: of the models' own codes."""

    languages: Mapping[str, Spoken] = field(default_factory=lambda: MappingProxyType({}))
    directions: int = 0

    @cached_property
    def measured(self) -> bool:
        """Whether any of its languages was."""
        return any(spoken.score is not None for spoken in self.languages.values())

    def score(self, source: str, target: str) -> int | None:
        """Of a pair: the worse of its two languages. None where none of the family was measured."""
        return min(self.languages[source].worth, self.languages[target].worth) if self.measured else None


class Atlas:
    """All languages of the catalog, found by any code that models write."""

    def __init__(self, file: LanguagesFile) -> None:
        self.languages = {
            code: Language(code=code, name=row.name, native=row.native, script=row.script, resource=row.resource)
            for code, row in file.languages.items()
        }
        self._listed: dict[tuple[str, ...], Family] = {}
        self._by_iso = {row.iso: code for code, row in file.languages.items()}
        self._variants = {
            code: {script: Variant(**row.model_dump()) for script, row in rows.items()}
            for code, rows in file.variants.items()
        }

    def find(self, own: str) -> Language:
        """The language of a model's own code, as `deu_Latn`, `de_DE` or `de`. Raises KeyError for one that is not here."""
        head = own.partition("_")[0]
        return self.languages[self._by_iso.get(head, {"ns": "nso", "jw": "jv"}.get(head, head))]

    def family(self, table: FamilyTable) -> Family:
        """The family of these codes; what differs by script alone is one language with variants."""
        own: dict[str, list[str]] = {}
        for code in table.codes:
            own.setdefault(self.find(code).code, []).append(code)
        languages = {code: self._spoken(code, codes, table.spbleu) for code, codes in own.items()}
        return Family(MappingProxyType(languages), len(table.codes) * (len(table.codes) - 1))

    def listed(self, codes: tuple[str, ...]) -> Family:
        """The family of these languages, of which nothing was measured; the same one whenever it is asked for."""
        if codes not in self._listed:
            languages = {code: Spoken(language=self.languages[code]) for code in codes}
            self._listed[codes] = Family(MappingProxyType(languages), len(codes) * (len(codes) - 1))
        return self._listed[codes]

    def spoken(self, codes: Iterable[str]) -> Family:
        """The family of a model's own codes, as far as its languages are here."""
        known: list[str] = []
        for own in codes:
            with suppress(KeyError):
                known.append(self.find(own).code)
        return self.listed(tuple(dict.fromkeys(known)))

    def _spoken(self, code: str, codes: list[str], spbleu: Mapping[str, float]) -> Spoken:
        scores = [quality_of_spbleu(spbleu[own]) for own in codes if own in spbleu]
        named = self._variants.get(code, {})
        variants = tuple(named[own.partition("_")[2]] for own in codes) if len(codes) > 1 else ()
        return Spoken(language=self.languages[code], score=max(scores, default=None), variants=variants)
