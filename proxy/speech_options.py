"""What can be asked of a transcription, as text in a form or a query: read in one place for every contract."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from backends.types import Diarize, Transcribe
from proxy.errors import invalid

SPEAKER_COUNTS = ("num_speakers", "min_speakers", "max_speakers")
OPTIONS = frozenset(
    {
        "align",
        "beam_size",
        "best_of",
        "compression_ratio_threshold",
        "condition_on_previous_text",
        "diarize",
        "language",
        "length_penalty",
        "logprob_threshold",
        "no_speech_threshold",
        "patience",
        "prompt",
        *SPEAKER_COUNTS,
    }
)
# Memory grows with them, and Whisper gains nothing beyond.
MAX_BEAMS = 32
MAX_SPEAKERS = 100


def transcription(sent: Mapping[str, str], base: Transcribe) -> Transcribe:
    """base with what the OPTIONS among `sent` say in the place of its own. Raises INVALID with the option's name."""

    def whole(name: str, otherwise: int | None) -> int | None:
        return read_whole(name, sent[name], 1, MAX_BEAMS) if name in sent else otherwise

    def number(name: str, otherwise: float | None, low: float = -math.inf, high: float = math.inf) -> float | None:
        return read_number(name, sent[name], low, high) if name in sent else otherwise

    def flag(name: str) -> bool | None:
        return read_flag(name, sent[name]) if name in sent else None

    on_text_before = flag("condition_on_previous_text")
    return replace(
        base,
        language=sent.get("language", base.language),
        prompt=sent.get("prompt", base.prompt),
        beam_size=whole("beam_size", base.beam_size),
        best_of=whole("best_of", base.best_of),
        patience=number("patience", base.patience, low=0.1, high=10),
        length_penalty=number("length_penalty", base.length_penalty),
        compression_ratio_threshold=number("compression_ratio_threshold", base.compression_ratio_threshold, low=0),
        logprob_threshold=number("logprob_threshold", base.logprob_threshold),
        no_speech_threshold=number("no_speech_threshold", base.no_speech_threshold, low=0, high=1),
        condition_on_previous_text=base.condition_on_previous_text if on_text_before is None else on_text_before,
        align=bool(flag("align")),
        diarize=_diarize(flag("diarize"), _speaker_counts(sent)),
    )


def candidates(sent: Sequence[str], request: Transcribe, *, language: bool) -> Transcribe:
    """The request with the languages that may be spoken. language: whether one was sent, too, which is one too many."""
    if not sent:
        return request
    if language:
        raise invalid("languages", "`language` says already which one is spoken; send one of the two")
    return replace(request, languages=tuple(sent), language=None)


def _speaker_counts(sent: Mapping[str, str]) -> dict[str, int | None]:
    return {name: read_whole(name, sent[name], 1, MAX_SPEAKERS) if name in sent else None for name in SPEAKER_COUNTS}


def _diarize(wanted: bool | None, counts: Mapping[str, int | None]) -> Diarize | None:
    """Whoever says how many speakers there are wants to know which of them speaks."""
    told = [name for name, count in counts.items() if count is not None]
    if wanted is False and told:
        raise invalid(told[0], "it needs `diarize`, which is `false`")
    if not wanted and not told:
        return None
    exact, least, most = (counts[name] for name in SPEAKER_COUNTS)
    if exact is not None and len(told) > 1:
        raise invalid("num_speakers", f"it excludes `{told[1]}`")
    if least is not None and most is not None and least > most:
        raise invalid("min_speakers", f"{least} is more than `max_speakers`, {most}")
    return Diarize(num_speakers=exact, min_speakers=least, max_speakers=most)


def read_whole(name: str, text: str, low: int, high: int | None = None) -> int:
    """A whole number from low to high (None: any). Raises INVALID."""
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if value < low or (high is not None and value > high):
        limits = f"from {low} to {high}" if high is not None else f"of at least {low}"
        raise invalid(name, f"`{text[:100]}` is not a whole number {limits}")
    return value


def read_number(name: str, text: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number from low to high. Raises INVALID."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not low <= value <= high:
        limits = (
            "" if math.isinf(low) else f" from {low:g} to {high:g}" if math.isfinite(high) else f" of at least {low:g}"
        )
        raise invalid(name, f"`{text[:100]}` is not a number{limits}")
    return value


def read_flag(name: str, text: str) -> bool:
    """`true` or `false`, in any case. Raises INVALID."""
    match text.lower():
        case "true":
            return True
        case "false":
            return False
    raise invalid(name, f"`{text[:100]}` is neither `true` nor `false`")
