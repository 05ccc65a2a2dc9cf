"""The stretches of a file in which somebody speaks, cut where nobody does."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeAlias

import numpy as np

from backends.errors import Invalid
from backends.inprocess.audio import SAMPLE_RATE, Samples
from backends.types import Vad
from backends.whisper.listening import STEP, Recording, Span

_Part: TypeAlias = tuple[Span, Samples]

LONGEST_PADDING_MS = 5000


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


def passages(recording: Recording, *, window: int, together: bool) -> list[Passage]:
    """What to decode: the speech of a file, cut at silences.

    window: how many samples the model hears at once; together: as one passage, since each window is to know the text of
    the one before.
    """
    runs = _runs(recording)
    groups = [[part for run in runs for part in run]] if together else _grouped(runs, window)
    return [
        Passage(np.concatenate([samples for _, samples in group]), tuple(span for span, _ in group))
        for group in groups
        if group
    ]


def _runs(recording: Recording) -> list[list[_Part]]:
    """Speech between silences. A run of several parts is speech that lasts longer than a window without a breath."""
    spoken = recording.spoken
    spans = [(one.start, one.end) for one in spoken]
    runs: list[list[_Part]] = []
    for number, padded in enumerate(_padded(spans, recording.padding, recording.length)):
        part = spoken[number].take(*padded)
        if number and spans[number][0] - spans[number - 1][1] <= STEP:
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


def _padded(spans: Sequence[Span], padding: int, length: int) -> list[Span]:
    """The spans with up to `padding` samples more on both sides, half of the silence between two at most."""
    edges = [0, *((before[1] + after[0]) // 2 for before, after in pairwise(spans)), length]
    return [
        (max(start - padding, edges[number]), min(end + padding, edges[number + 1]))
        for number, (start, end) in enumerate(spans)
    ]


def _grouped(runs: Sequence[Sequence[_Part]], window: int) -> list[list[_Part]]:
    """Runs side by side as long as they fit one window together."""
    groups: list[list[_Part]] = []
    room = 0
    for run in runs:
        size = sum(len(samples) for _, samples in run)
        if size <= room:
            groups[-1].extend(run)
            room -= size
        else:
            groups.append(list(run))
            room = window - size
    return groups
