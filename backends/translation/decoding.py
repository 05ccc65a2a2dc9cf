"""How to search for the best translation: what the caller asks for, else what the checkpoint says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TypeVar

from backends.errors import Invalid
from backends.types import Json, Translate

MOST_BEAMS = 32
_MOST_NEW_TOKENS = 512

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """Options of a search; sentences with equal ones may share a batch.

    early_stopping: stop at beam_size finished candidates instead of looking on for better ones;
    length_penalty: exponent of the length by which a score is divided; max_new_tokens: per sentence; batch_size: most
    sentences in one call, None = as many as the engine takes.
    """

    beam_size: int
    early_stopping: bool
    length_penalty: float
    no_repeat_ngram_size: int
    max_new_tokens: int
    batch_size: int | None = None


def checkpoint_decoding(generation: Mapping[str, Json], room: int) -> Decoding:
    """The checkpoint's own defaults. generation: its generation_config.json; room: tokens its decoder can hold.

    Where it is silent: greedy, as transformers' generate, stopping early.
    """
    beams, penalty, ngram = (generation.get(key) for key in ("num_beams", "length_penalty", "no_repeat_ngram_size"))
    return Decoding(
        beam_size=beams if isinstance(beams, int) else 1,
        early_stopping=generation.get("early_stopping", True) is True,
        length_penalty=float(penalty) if isinstance(penalty, int | float) else 1.0,
        no_repeat_ngram_size=ngram if isinstance(ngram, int) else 0,
        max_new_tokens=min(room, _MOST_NEW_TOKENS),
    )


def choose(request: Translate, default: Decoding, room: int) -> Decoding:
    """The search for this request. Raises Invalid(param) for a value that means nothing."""
    _check("beam_size", request.beam_size, 1, MOST_BEAMS)
    _check("no_repeat_ngram_size", request.no_repeat_ngram_size, 0)
    _check("max_input_length", request.max_input_length, 1)
    _check("max_new_tokens", request.max_new_tokens, 1)
    _check("batch_size", request.batch_size, 1)
    penalty = request.length_penalty
    if penalty is not None and not isfinite(penalty):
        raise Invalid(f"length_penalty must be a finite number, not {penalty}.", param="length_penalty")
    return Decoding(
        beam_size=_first(request.beam_size, default.beam_size),
        early_stopping=_first(request.early_stopping, default.early_stopping),
        length_penalty=_first(penalty, default.length_penalty),
        no_repeat_ngram_size=_first(request.no_repeat_ngram_size, default.no_repeat_ngram_size),
        max_new_tokens=min(_first(request.max_new_tokens, default.max_new_tokens), room),
        batch_size=request.batch_size,
    )


def _check(param: str, value: int | None, least: int, most: int | None = None) -> None:
    if value is None or (value >= least and (most is None or value <= most)):
        return
    allowed = f"at least {least}" if most is None else f"from {least} to {most}"
    raise Invalid(f"{param} must be {allowed}, not {value}.", param=param)


def _first(asked: T | None, default: T) -> T:
    return default if asked is None else asked
