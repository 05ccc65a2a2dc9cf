"""A file heard once, from beginning to end, in blocks: what is kept of it is its speech, and how long it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps

from backends.inprocess.audio import SAMPLE_RATE, Samples
from backends.types import Vad

Span: TypeAlias = tuple[int, int]

THRESHOLD, PADDING_MS, SILENCE_MS = 0.5, 400, 2000
# The detector listens to 512 samples at a time: where it had to cut inside of speech, the halves are no further apart.
STEP = 512
# As much as is searched at once: an hour of silence costs no more memory than a minute of it.
BLOCK = 60 * SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Spoken:
    """Somebody speaks from sample `start` to sample `end` of the file. samples: those and some around, from sample `at` on."""

    start: int
    end: int
    at: int
    samples: Samples

    def take(self, start: int, end: int) -> tuple[Span, Samples]:
        """What is kept of [start, end), and where that is."""
        start, end = max(start, self.at), min(end, self.at + len(self.samples))
        return (start, end), self.samples[start - self.at : end - self.at]


@dataclass(slots=True)
class Recording:
    """A file that was heard. padding: samples wanted on both sides of speech; begin: what it begins with, a window at most.

    spoken: in order; whole: every sample, where that was asked for, else none.
    """

    padding: int
    length: int = 0
    begin: Samples = field(default_factory=lambda: np.empty(0, np.float32))
    spoken: list[Spoken] = field(default_factory=list)
    whole: Samples = field(default_factory=lambda: np.empty(0, np.float32))

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.length / SAMPLE_RATE


def listen(blocks: Iterable[Samples], vad: Vad | None, *, window: int, whole: bool) -> Recording:
    """Look for speech while the file is being read; what fits one window is speech altogether, unless vad is given. Blocks.

    window: how many samples the model hears at once; whole: keep everything besides.
    """
    search = _Search(vad or Vad(), window)
    recording = Recording(search.padding)
    kept: list[Samples] = []
    waiting, at = np.empty(0, np.float32), 0
    for block in blocks:
        if whole:
            kept.append(block)
        waiting = np.concatenate([waiting, block])
        recording.length += len(block)
        if len(recording.begin) < window:
            recording.begin = np.concatenate([recording.begin, block[: window - len(recording.begin)]])
        if len(waiting) >= BLOCK:
            settled = search.settled(waiting, at, recording.spoken)
            waiting, at = waiting[settled:].copy(), at + settled
    if whole:
        recording.whole = np.concatenate(kept)
    if vad is None and recording.length <= window:
        recording.spoken = [Spoken(0, recording.length, 0, waiting)]
    else:
        search.all(waiting, at, recording.spoken)
    return recording


class _Search:
    """Finds speech block by block."""

    def __init__(self, vad: Vad, window: int) -> None:
        padding_ms = PADDING_MS if vad.prefix_padding_ms is None else vad.prefix_padding_ms
        silence_ms = SILENCE_MS if vad.silence_duration_ms is None else vad.silence_duration_ms
        self.padding = padding_ms * SAMPLE_RATE // 1000
        self._silence = silence_ms * SAMPLE_RATE // 1000
        self._options = VadOptions(
            threshold=THRESHOLD if vad.threshold is None else vad.threshold,
            max_speech_duration_s=max(window / SAMPLE_RATE - 2 * padding_ms / 1000, window / SAMPLE_RATE / 2),
            min_silence_duration_ms=silence_ms,
            speech_pad_ms=0,
        )

    def all(self, samples: Samples, at: int, spoken: list[Spoken]) -> None:
        """Add all speech in samples, which stand at `at` in the file."""
        self._add(self._found(samples), samples, at, spoken)

    def settled(self, samples: Samples, at: int, spoken: list[Spoken]) -> int:
        """Add the speech that ends in samples for sure; how many of the samples are done with."""
        found = self._found(samples)
        number, settled = _settled(found, len(samples), self._silence, self.padding)
        self._add(found[:number], samples, at, spoken)
        return settled

    def _found(self, samples: Samples) -> list[Span]:
        found = get_speech_timestamps(samples, self._options)
        return [(int(speech["start"]), int(speech["end"])) for speech in found]

    def _add(self, found: Sequence[Span], samples: Samples, at: int, spoken: list[Spoken]) -> None:
        for start, end in found:
            first = max(start - self.padding, 0)
            around = samples[first : end + self.padding].copy()
            spoken.append(Spoken(at + start, at + end, at + first, around))


def _settled(found: Sequence[Span], length: int, silence: int, padding: int) -> tuple[int, int]:
    """How many of the spans found in a block will not change with what follows it, and how far the block is done with.

    The last may go on beyond the block's end, unless silence enough comes after it. What padding may need is kept.
    """
    if not found or found[-1][1] + silence + padding <= length:
        return len(found), length - padding
    start, _ = found[-1]
    before = found[-2][1] if len(found) > 1 else 0
    return len(found) - 1, start if start - before <= STEP else (before + start) // 2
