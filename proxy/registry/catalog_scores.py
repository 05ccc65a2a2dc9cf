"""How figures that are published become the scores that a user compares: each by one formula, so that none is made up."""

from __future__ import annotations

import math
from collections.abc import Iterable

SCALE = 100.0

# Inference takes about a fifth more memory than its weights: EleutherAI, "Transformer Math 101".
OVERHEAD = 1.2
# faster-whisper 1.1 with a small model (242 million parameters), float32, beam 5: 157 s of 8 cores for 780 s of audio (its README).
CORES_PER_PARAMETER = 8 * 157 / 780 / 242e6
# Tatoeba's sentences are short and easy: on seven pairs nllb-200-distilled-600M has twice its FLORES-200 figure divided by 1.45.
TATOEBA_TO_SCORE = 1.45


def quality_of_wer(wer: float) -> int:
    """Percent of words wrong -> 0-100: each percent costs four points.

    >>> quality_of_wer(5.66)
    77
    """
    return _bounded(SCALE - 4 * wer)


def quality_of_spbleu(spbleu: float) -> int:
    """spBLEU on FLORES-200 -> 0-100: twice the figure; 50 is about where the best systems are for the easiest pairs."""
    return _bounded(2 * spbleu)


def quality_of_tatoeba(bleu: float) -> int:
    """BLEU on Tatoeba -> 0-100, on the scale of quality_of_spbleu."""
    return _bounded(TATOEBA_TO_SCORE * bleu)


def speed_score(relative: float) -> int:
    """Speed, 1 = the largest model of the kind -> 0-100: 50 for 1, 100 for 10, in equal steps for equal ratios.

    >>> [speed_score(relative) for relative in (1, 4, 10)]
    [50, 80, 100]
    """
    return _bounded(50 + 50 * math.log10(relative))


def speed_between(parameters: int, known: Iterable[tuple[int, float]]) -> float:
    """The speed of a model by its size, between those whose speed is published (parameters, speed), on logarithmic scales."""
    points = sorted(known)
    below = [point for point in points if point[0] <= parameters]
    above = [point for point in points if point[0] > parameters]
    if not below or not above:
        return (above or below[::-1])[0][1]
    (low, fast), (high, slow) = below[-1], above[0]
    share = math.log(parameters / low) / math.log(high / low)
    between = math.exp((1 - share) * math.log(fast) + share * math.log(slow))
    return min(max(between, min(fast, slow)), max(fast, slow))


def memory_mb(parameters: int, bytes_each: float = 4) -> int:
    """What a loaded model holds, in 10^6 bytes. bytes_each: 4 for float32, 2 for float16, 1 for int8."""
    return math.ceil(OVERHEAD * parameters * bytes_each / 1e6)


def ram_mb(memory: int) -> int:
    """The memory that a machine needs: the least power of two that has twice what the model holds.

    >>> ram_mb(182)
    512
    """
    return 1 << max(0, math.ceil(math.log2(2 * max(memory, 1))))


def cores(parameters: int) -> int:
    """CPU cores that transcribe as fast as people speak; two at least, as one answers the door."""
    return max(2, math.ceil(CORES_PER_PARAMETER * parameters))


def _bounded(score: float) -> int:
    return round(min(SCALE, max(0.0, score)))
