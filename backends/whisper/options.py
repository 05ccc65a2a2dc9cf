"""How a request wants to be decoded, with Whisper's own defaults where it does not say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from backends.errors import Invalid
from backends.types import Transcribe

T = TypeVar("T")

# The memory of a search grows with its width; beyond these nothing is gained.
WIDEST = 32
LARGEST_EXPONENT = 10.0
HOTTEST = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Decoding options, all of them known; see Transcribe for their meaning."""

    beam_size: int = 5
    best_of: int = 5
    patience: float = 1.0
    length_penalty: float = 1.0
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    compression_ratio_threshold: float = 2.4
    logprob_threshold: float = -1.0
    no_speech_threshold: float = 0.6
    condition_on_previous_text: bool = False


def options_of(request: Transcribe) -> Options:
    """The request's options. Raises Invalid for values that no search can have.

    Windows are decoded without the text before them unless the request wants it: they can then run side by side.
    """
    standard = Options()
    options = Options(
        beam_size=_given(request.beam_size, standard.beam_size),
        best_of=_given(request.best_of, standard.best_of),
        patience=_given(request.patience, standard.patience),
        length_penalty=_given(request.length_penalty, standard.length_penalty),
        temperatures=_given(request.temperatures, standard.temperatures),
        compression_ratio_threshold=_given(request.compression_ratio_threshold, standard.compression_ratio_threshold),
        logprob_threshold=_given(request.logprob_threshold, standard.logprob_threshold),
        no_speech_threshold=_given(request.no_speech_threshold, standard.no_speech_threshold),
        condition_on_previous_text=_given(request.condition_on_previous_text, standard.condition_on_previous_text),
    )
    _check(options)
    return options


def _given(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value


def _check(options: Options) -> None:
    for name, size in (("beam_size", options.beam_size), ("best_of", options.best_of)):
        if not 1 <= size <= WIDEST:
            raise Invalid(f"{name} is {size}; it must be from 1 to {WIDEST}.", param=name)
    if not 0 < options.patience <= LARGEST_EXPONENT:
        raise Invalid(f"patience is {options.patience:g}; it must be above 0 and at most 10.", param="patience")
    if not abs(options.length_penalty) <= LARGEST_EXPONENT:
        raise Invalid(
            f"length_penalty is {options.length_penalty:g}; it must be from -10 to 10.", param="length_penalty"
        )
    if not options.temperatures:
        raise Invalid("No temperature is given; one at least is needed.", param="temperature")
    for temperature in options.temperatures:
        if not 0 <= temperature <= HOTTEST:
            raise Invalid(f"temperature is {temperature:g}; it must be from 0 to {HOTTEST:g}.", param="temperature")
    for name, threshold in (
        ("compression_ratio_threshold", options.compression_ratio_threshold),
        ("logprob_threshold", options.logprob_threshold),
        ("no_speech_threshold", options.no_speech_threshold),
    ):
        if math.isnan(threshold):
            raise Invalid(f"{name} is not a number.", param=name)
