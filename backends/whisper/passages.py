"""The stretches of a file in which somebody speaks, cut where nobody does."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeAlias

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps

from backends.errors import Invalid
from backends.inprocess.audio import SAMPLE_RATE, Samples
from backends.types import Vad

Span: TypeAlias = tuple[int, int]

THRESHOLD, PADDING_MS, SILENCE_MS = 0.5, 400, 2000
LONGEST_PADDING_MS = 5000
# The detector listens to 512 samples at a time: where it had to cut inside of speech, the halves are no further apart.
STEP = 512


@dataclass(frozen=True, slots=True)
class Passage:
    """Speech to decode from beginning to end. spans: where its samples stand in the file, each [start, end), in order."""

    samples: Samples
    spans: tuple[Span, ...]

    def stretch(self, start: float, end: float) -> tuple[float, float]:
        """When the file has what the passage has from `start` to `end`, in seconds; silence left out in between counts."""
        return self._time(start, self._span(start)), self._time(end, self._span(end, end=True))

    def moment(self, start: float, end: float) -> tuple[float, float]:
        """As stretch, for something too short to go over silence left out: both ends are where its middle is."""
        span = self._span((start + end) / 2)
        return self._time(start, span), self._time(end, span)

    def _span(self, seconds: float, *, end: bool = False) -> int:
        """The number of the span that plays at the passage's second; of two that meet there, `end` means the first."""
        position = round(seconds * SAMPLE_RATE)
        number = (bisect_left if end else bisect_right)(self._ends(), position)
        return min(number, len(self.spans) - 1)

    def _time(self, seconds: float, span: int) -> float:
        _, end = self.spans[span]
        return seconds + (end - self._ends()[span]) / SAMPLE_RATE

    def _ends(self) -> list[int]:
        """Where in the passage each span ends, in samples."""
        return list(accumulate(end - start for start, end in self.spans))


def check(vad: Vad) -> None:
    """Refuse what cannot be looked for. Raises Invalid."""
    if vad.threshold is not None and not 0 <= vad.threshold <= 1:
        raise Invalid(f"threshold is {vad.threshold:g}; it must be from 0 to 1.", param="chunking_strategy.threshold")
    if vad.prefix_padding_ms is not None and not 0 <= vad.prefix_padding_ms <= LONGEST_PADDING_MS:
        raise Invalid(
            f"prefix_padding_ms is {vad.prefix_padding_ms}; it must be from 0 to {LONGEST_PADDING_MS}.",
            param="chunking_strategy.prefix_padding_ms",
        )
    if vad.silence_duration_ms is not None and vad.silence_duration_ms < 0:
        raise Invalid(
            f"silence_duration_ms is {vad.silence_duration_ms}; it must be 0 or more.",
            param="chunking_strategy.silence_duration_ms",
        )


def passages(samples: Samples, vad: Vad | None, *, window: int, together: bool) -> list[Passage]:
    """What to decode: the whole of a file that fits one window, unless vad is given; the speech of any other. Blocks.

    window: how many samples the model hears at once; together: as one passage, since each window is to know the text of
    the one before.
    """
    if vad is None and len(samples) <= window:
        return [Passage(samples, ((0, len(samples)),))]
    runs = _runs(samples, vad or Vad(), window)
    groups = [[span for run in runs for span in run]] if together else _grouped(runs, window)
    return [
        Passage(np.concatenate([samples[start:end] for start, end in group]), tuple(group)) for group in groups if group
    ]


def _runs(samples: Samples, vad: Vad, window: int) -> list[list[Span]]:
    """Speech between silences. A run of several spans is speech that lasts longer than a window without a breath."""
    padding_ms = PADDING_MS if vad.prefix_padding_ms is None else vad.prefix_padding_ms
    found = get_speech_timestamps(
        samples,
        VadOptions(
            threshold=THRESHOLD if vad.threshold is None else vad.threshold,
            max_speech_duration_s=max(window / SAMPLE_RATE - 2 * padding_ms / 1000, window / SAMPLE_RATE / 2),
            min_silence_duration_ms=SILENCE_MS if vad.silence_duration_ms is None else vad.silence_duration_ms,
            speech_pad_ms=0,
        ),
    )
    spans = [(int(speech["start"]), int(speech["end"])) for speech in found]
    runs: list[list[Span]] = []
    for number, span in enumerate(_padded(spans, padding_ms * SAMPLE_RATE // 1000, len(samples))):
        if number and spans[number][0] - spans[number - 1][1] <= STEP:
            runs[-1].append(span)
        else:
            runs.append([span])
    return runs


def _padded(spans: Sequence[Span], padding: int, length: int) -> list[Span]:
    """The spans with up to `padding` samples more on both sides, half of the silence between two at most."""
    edges = [0, *((before[1] + after[0]) // 2 for before, after in pairwise(spans)), length]
    return [
        (max(start - padding, edges[number]), min(end + padding, edges[number + 1]))
        for number, (start, end) in enumerate(spans)
    ]


def _grouped(runs: Sequence[Sequence[Span]], window: int) -> list[list[Span]]:
    """Runs side by side as long as they fit one window together."""
    groups: list[list[Span]] = []
    room = 0
    for run in runs:
        size = sum(end - start for start, end in run)
        if size <= room:
            groups[-1].extend(run)
            room -= size
        else:
            groups.append(list(run))
            room = window - size
    return groups
