"""Language codes: whatever standard the caller writes them in, mapped to those of the loaded model."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Literal

from backends.errors import Invalid

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Tag:
    """What a code says. language: ISO 639-3, a macrolanguage standing for its usual member too; script: ISO 15924."""

    language: str
    script: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class CodeTable:
    """The facts of languages.toml: ISO 639-3 codes as keys and values, but for two_letters and renamed."""

    two_letters: Mapping[str, str]
    renamed: Mapping[str, str]
    macro: Mapping[str, str]
    script: Mapping[str, str]
    script_of_region: Mapping[str, Mapping[str, str]]

    def parse(self, code: str) -> Tag:
        """Read a code of ISO 639, IETF BCP 47, NLLB, M2M100, mBART or Marian; it need not be a known language."""
        first, *rest = code.strip().replace("_", "-").split("-")
        language = first.lower()
        language = self.renamed.get(language, self.two_letters.get(language, language))
        language = self.macro.get(language, language)
        script = next((part.capitalize() for part in rest if len(part) == 4 and part.isalpha()), None)
        region = next((part.upper() for part in rest if len(part) == 2 and part.upper() != "XX"), None)
        if script is None and region is not None:
            script = self.script_of_region.get(language, {}).get(region)
        return Tag(language, script, region)


def read_table() -> CodeTable:
    """The table that ships beside this module."""
    data = tomllib.loads(files(__package__).joinpath("languages.toml").read_text(encoding="utf-8"))
    return CodeTable(
        two_letters=data["two_letters"],
        renamed=data["renamed"],
        macro={member: macro for macro, member in data["standard"].items()},
        script=data["script"],
        script_of_region=data["script_of_region"],
    )


@dataclass(frozen=True)
class Languages:
    """The languages one side of a model has. codes: as the model writes them; empty when it does not say."""

    codes: tuple[str, ...]
    table: CodeTable = field(default_factory=read_table)

    def find(self, code: str, param: Literal["source", "target"]) -> str:
        """The model's own code for the caller's. Raises Invalid(param) naming the nearest that the model has."""
        if code in self.codes:
            return code
        wanted = self.table.parse(code)
        fitting = [(own, tag) for own, tag in self._tags.items() if _fits(tag, wanted)]
        if not fitting:
            raise Invalid(self._unknown(code, param), param=param)
        usual = wanted.script or self.table.script.get(wanted.language)
        return max(fitting, key=lambda item: (item[1].script == usual, item[1].region == wanted.region))[0]

    @cached_property
    def _tags(self) -> dict[str, Tag]:
        return {own: self.table.parse(own) for own in self.codes}

    def _unknown(self, code: str, param: str) -> str:
        if not self.codes:
            return f"This model does not say what its {param} language is: leave {param} out instead of {code!r}."
        nearest = self._nearest(code)
        if len(self.codes) > _SHOWN and nearest:
            return (
                f"This model has no {param} language {code!r}; nearest of its {len(self.codes)}: {', '.join(nearest)}."
            )
        more = f", and {len(self.codes) - _SHOWN} more" if len(self.codes) > _SHOWN else ""
        return f"This model has no {param} language {code!r}; it has {', '.join(self.codes[:_SHOWN])}{more}."

    def _nearest(self, code: str) -> list[str]:
        language = self.table.parse(code).language
        spelling = {own: tag.language for own, tag in self._tags.items()}
        close = difflib.get_close_matches(language, sorted(set(spelling.values())), n=_SHOWN)
        return [own for near in close for own, language in spelling.items() if language == near][:_SHOWN]


def _fits(own: Tag, wanted: Tag) -> bool:
    return own.language == wanted.language and (own.script is None or wanted.script in (None, own.script))
