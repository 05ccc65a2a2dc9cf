"""How each family of translation models is told its languages: M2M100, NLLB, mBART, Marian and T5."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from backends.errors import Invalid, Unavailable
from backends.translation.checkpoint import Checkpoint
from backends.translation.languages import Languages

_EOS = "</s>"
_SPECIAL = frozenset({"<s>", "<pad>", _EOS, "<unk>", "<mask>"})
_M2M100 = re.compile(r"__([a-z]{2,3})__")
_NLLB = re.compile(r"([a-z]{3}_[A-Z][a-z]{3})")
_MBART = re.compile(r"([a-z]{2}_[A-Z]{2})")
_MARIAN_TARGET = re.compile(r">>(\w+)<<")
_T5_TASK = re.compile(r"translation_(\w+)_to_(\w+)")


@dataclass(frozen=True, slots=True)
class Pair:
    """Languages in the model's own codes; None = the model does not say which."""

    source: str | None
    target: str | None


@dataclass(frozen=True, slots=True)
class Framed:
    """One sentence as the model wants it. prefix: tokens with which its answer has to begin."""

    tokens: tuple[str, ...]
    prefix: tuple[str, ...] = ()


class Family(Protocol):
    """What differs from one family to the next."""

    @property
    def special(self) -> frozenset[str]:
        """Tokens with a meaning to the model, which are no text in an answer."""

    @property
    def some_pair(self) -> Pair:
        """Languages between which the model surely translates."""

    def pair(self, source: str | None, target: str | None) -> Pair:
        """The model's codes for the caller's. Raises Invalid(param) for a language that it lacks or has to be told."""

    def frame(self, pieces: Sequence[str], pair: Pair) -> Framed:
        """The tokens that stand for pieces of a sentence between these languages."""


@dataclass(frozen=True, slots=True)
class Multilingual:
    """Any language into any other, named by tokens. source_last: the source's token stands behind the sentence."""

    languages: Languages
    token: Callable[[str], str]
    source_last: bool = False

    @property
    def special(self) -> frozenset[str]:
        return _SPECIAL.union(map(self.token, self.languages.codes))

    @property
    def some_pair(self) -> Pair:
        return Pair(self.languages.codes[0], self.languages.codes[-1])

    def pair(self, source: str | None, target: str | None) -> Pair:
        return Pair(_needed(self.languages, source, "source"), _needed(self.languages, target, "target"))

    def frame(self, pieces: Sequence[str], pair: Pair) -> Framed:
        source, target = self.token(pair.source or ""), self.token(pair.target or "")
        tokens = (*pieces, _EOS, source) if self.source_last else (source, *pieces, _EOS)
        return Framed(tokens, (target,))


@dataclass(frozen=True, slots=True)
class Bilingual:
    """One source, one target: naming them is optional, and wrong names are refused."""

    source: Languages
    target: Languages

    @property
    def special(self) -> frozenset[str]:
        return _SPECIAL

    @property
    def some_pair(self) -> Pair:
        return self.pair(None, None)

    def pair(self, source: str | None, target: str | None) -> Pair:
        return Pair(_optional(self.source, source, "source"), _optional(self.target, target, "target"))

    def frame(self, pieces: Sequence[str], pair: Pair) -> Framed:
        return Framed((*pieces, _EOS))


@dataclass(frozen=True, slots=True)
class OneToMany:
    """One source (or a group that the model tells apart itself), several targets, named by a token before the text."""

    source: Languages
    target: Languages

    @property
    def special(self) -> frozenset[str]:
        return _SPECIAL.union(f">>{code}<<" for code in self.target.codes)

    @property
    def some_pair(self) -> Pair:
        return self.pair(None, self.target.codes[0])

    def pair(self, source: str | None, target: str | None) -> Pair:
        return Pair(_optional(self.source, source, "source"), _needed(self.target, target, "target"))

    def frame(self, pieces: Sequence[str], pair: Pair) -> Framed:
        return Framed((f">>{pair.target}<<", *pieces, _EOS))


@dataclass(frozen=True, slots=True)
class Prompted:
    """Pairs that are asked for in words. targets: of each source; prompts: the pieces of the words, by pair."""

    sources: Languages
    targets: Mapping[str, Languages]
    prompts: Mapping[tuple[str, str], tuple[str, ...]]

    @property
    def special(self) -> frozenset[str]:
        return _SPECIAL

    @property
    def some_pair(self) -> Pair:
        source, target = next(iter(self.prompts))
        return Pair(source, target)

    def pair(self, source: str | None, target: str | None) -> Pair:
        known = _needed(self.sources, source, "source")
        return Pair(known, _needed(self.targets[known], target, "target"))

    def frame(self, pieces: Sequence[str], pair: Pair) -> Framed:
        return Framed((*self.prompts[pair.source or "", pair.target or ""], *pieces, _EOS))


def detect(checkpoint: Checkpoint, pieces: Callable[[str], list[str]]) -> Family:
    """The family of a checkpoint; pieces: its tokenizer. Raises Unavailable for a model that does not translate."""
    kind, vocabulary = checkpoint.model_type, checkpoint.vocabulary
    if kind in ("m2m_100", "nllb-moe", None):
        if codes := _codes(_M2M100, vocabulary):
            return Multilingual(Languages(codes), "__{}__".format)
        if codes := _codes(_NLLB, vocabulary):
            return Multilingual(Languages(codes), str, source_last=checkpoint.tokenizer.get("legacy_behaviour") is True)
    if kind in ("mbart", None) and (codes := _codes(_MBART, vocabulary)):
        return Multilingual(Languages(codes), str, source_last=not _is_mbart50(checkpoint))
    if kind in ("marian", None):
        source = _told(checkpoint.tokenizer.get("source_lang"))
        if codes := _codes(_MARIAN_TARGET, vocabulary):
            return OneToMany(source, Languages(codes))
        return Bilingual(source, _told(checkpoint.tokenizer.get("target_lang")))
    if kind == "t5" and (prompts := _prompts(checkpoint, pieces)):
        targets = {source: _distinct(pair[1] for pair in prompts if pair[0] == source) for source, _ in prompts}
        return Prompted(_distinct(targets), targets, prompts)
    raise Unavailable(
        f"{checkpoint.name} is a {kind} model without language codes; translation takes M2M100, NLLB, mBART, "
        "Marian (opus-mt), and T5 with translation tasks."
    )


def _needed(languages: Languages, code: str | None, param: Literal["source", "target"]) -> str:
    if code is None:
        if len(languages.codes) == 1:
            return languages.codes[0]
        raise Invalid(f"This model translates between many languages: {param} is needed.", param=param)
    return languages.find(code, param)


def _optional(languages: Languages, code: str | None, param: Literal["source", "target"]) -> str | None:
    if code is None:
        return languages.codes[0] if languages.codes else None
    return languages.find(code, param)


def _codes(pattern: re.Pattern[str], vocabulary: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(found[1] for found in map(pattern.fullmatch, vocabulary) if found))


def _told(code: object) -> Languages:
    return Languages((code,) if isinstance(code, str) else ())


def _distinct(codes: Iterable[str]) -> Languages:
    return Languages(tuple(dict.fromkeys(codes)))


def _is_mbart50(checkpoint: Checkpoint) -> bool:
    """mBART-50 reads the source's code first; the mBART before it behind the sentence."""
    if checkpoint.model_type is None:
        return checkpoint.config.get("decoder_start_token") is not None
    name = checkpoint.config.get("tokenizer_class") or checkpoint.tokenizer.get("tokenizer_class")
    return isinstance(name, str) and name.startswith("MBart50")


def _prompts(checkpoint: Checkpoint, pieces: Callable[[str], list[str]]) -> dict[tuple[str, str], tuple[str, ...]]:
    tasks = checkpoint.config.get("task_specific_params")
    prompts: dict[tuple[str, str], tuple[str, ...]] = {}
    for task, params in tasks.items() if isinstance(tasks, dict) else ():
        named, prefix = _T5_TASK.fullmatch(task), params.get("prefix") if isinstance(params, dict) else None
        if named and isinstance(prefix, str):
            prompts[named[1], named[2]] = tuple(pieces(prefix.strip()))
    return prompts
