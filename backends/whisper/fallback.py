"""Whether what was decoded is to be believed, and which attempt is, when none is."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from backends.whisper.decoding import Heard
from backends.whisper.options import Options


@dataclass(frozen=True, slots=True)
class Attempt:
    """A window decoded at one temperature. compression_ratio: of its text; high when it repeats itself."""

    heard: Heard
    temperature: float
    compression_ratio: float


def compression_ratio(text: str) -> float:
    """How many times smaller the text becomes when compressed; 0 for none."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def accepted(attempt: Attempt, options: Options) -> bool:
    """Whether no other temperature need be tried: neither repetitive nor unlikely, or likely nothing but silence."""
    unlikely = attempt.heard.avg_logprob < options.logprob_threshold
    if unlikely and attempt.heard.no_speech_prob > options.no_speech_threshold:
        return True
    return not unlikely and attempt.compression_ratio <= options.compression_ratio_threshold


def best(attempts: Sequence[Attempt], options: Options) -> Attempt:
    """The likeliest of those that do not repeat themselves; of all, if all do."""
    fluent = [attempt for attempt in attempts if attempt.compression_ratio <= options.compression_ratio_threshold]
    return max(fluent or attempts, key=lambda attempt: attempt.heard.avg_logprob)


def silent(attempt: Attempt, options: Options) -> bool:
    """Whether the window is to be taken as silence whatever was decoded."""
    heard = attempt.heard
    return heard.no_speech_prob > options.no_speech_threshold and heard.avg_logprob <= options.logprob_threshold
