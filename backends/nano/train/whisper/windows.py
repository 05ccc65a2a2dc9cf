"""Training windows: utterances laid out in time with noise, and what the decoder is to say about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import WhisperTokenizer

from backends.nano.train.common import IGNORED, padded
from backends.nano.train.whisper.audio import LogMel
from backends.nano.train.whisper.mixing import FIRST, Variety, sound_of
from backends.nano.train.whisper.synthesize import Utterance
from backends.nano.train.whisper.tokenizer import TIMESTAMPS, Ids, special_ids
from backends.nano.train.whisper.utterances import (
    FULL,
    POSITIONS,
    Placed,
    Prepared,
    Span,
    part_of,
    phonemes_of,
    prepare,
    spoken_tokens,
)

SHORT, LONG = 500, 1000  # frames of the windows that passages are cut into
SAMPLED_PADDING = 64
TIGHT, LOOSE, SPARSE = (8, 40), (20, 120), (60, 250)  # frames between utterances
ANYWHERE: Span = (-1, -1)


@dataclass(frozen=True)
class Target:
    """Decoder input, the token wanted after each, and the encoder positions where each is heard."""

    inputs: list[int]
    labels: list[int]
    spans: list[Span]


@dataclass(frozen=True)
class Window:
    """Encoder input [80, frames], the position in the encoder where it begins, its target and its phonemes."""

    frames: LogMel
    offset: int
    target: Target
    phonemes: NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Windows of one size; `padding` is how many sampled positions stand for the silence up to 30 s, 0 for none."""

    frames: torch.Tensor
    offsets: torch.Tensor
    inputs: torch.Tensor
    labels: torch.Tensor
    spans: torch.Tensor
    phonemes: torch.Tensor
    padding: int


class Windows:
    """Draws windows of four sorts from a corpus; everything random comes from `seed`."""

    def __init__(
        self, corpus: Sequence[Prepared], noises: Sequence[LogMel], ids: Ids, seed: int, variety: Variety = FIRST
    ) -> None:
        self._variety = variety
        self._corpus = corpus
        self._noises = noises
        self._ids = ids
        self._r = Random(seed)
        self._deck = self._shuffled()

    def _shuffled(self) -> Iterator[Prepared]:
        while True:
            yield from self._r.sample(self._corpus, len(self._corpus))

    def curriculum(self, steps: int) -> Iterator[Batch]:
        """`steps` batches: a sixth of crops, a twentieth of stretches, then windows as Whisper gets them."""
        yield from islice(self.crops(), round(0.17 * steps))
        yield from islice(self.stretches(), round(0.05 * steps))
        yield from self.full_windows()

    def crops(self, rows: int = 32) -> Iterator[Batch]:
        """One utterance of 2 to 5 s, mostly somewhere in the encoder's positions: learns letters and order quickly."""
        r = self._r
        while True:
            for group in self._alike(rows, groups=8):
                frames = (max(u.length for u in group) + r.randint(20, 80)) // 2 * 2
                placed = [[Placed(u, r.randint(0, frames - u.length))] for u in group]
                yield self._batch(frames, placed, timestamps=0.4, moved=0.75)

    def stretches(self, rows: int = 12) -> Iterator[Batch]:
        """Several utterances in 8 to 12 s, or none."""
        while True:
            frames = self._r.randint(400, 600) * 2
            placed = [
                [] if self._r.random() < 0.05 else self._sequence(frames, 150, cut_share=0.3) for _ in range(rows)
            ]
            yield self._batch(frames, placed, timestamps=0.5, moved=0.75)

    def full_windows(self) -> Iterator[Batch]:
        """30 s: one utterance or a few with sampled padding after them, or every frame of them."""
        r = self._r
        while True:
            kind = r.random()
            if kind < 0.55:
                group = r.choice(list(self._alike(rows=24, groups=4)))
                frames = (max(u.length for u in group) + r.randint(20, 110)) // 2 * 2
                placed = [
                    [Placed(u, r.randint(0, min(frames - u.length, 100)))] if r.random() < 0.96 else [] for u in group
                ]
                yield self._batch(frames, placed, 0.45, prompts=0.08, longest_prompt=60, padding=SAMPLED_PADDING)
            elif kind < 0.91:
                frames = r.randint(400, 700) * 2
                placed = [self._sequence(frames, 110) for _ in range(9)]
                yield self._batch(frames, placed, 0.45, prompts=0.08, longest_prompt=60, padding=SAMPLED_PADDING)
            else:
                yield self._batch(FULL, [self._whole_window() for _ in range(6)], 0.5, prompts=0.2)

    def passages(self) -> Iterator[Batch]:
        """Windows of 5 and of 10 s as the server cuts them; some are padded to 30 s, as other programs do."""
        r = self._r
        while True:
            frames, rows = r.choice([(SHORT, 24), (LONG, 12)])
            placed = [self._passage(frames) for _ in range(rows)]
            padding = SAMPLED_PADDING if r.random() < 0.25 else 0
            yield self._batch(frames, placed, 0.65, prompts=0.08, longest_prompt=60, padding=padding)

    def _passage(self, frames: int) -> list[Placed]:
        kind = self._r.random()
        if kind < 0.04:
            return []
        if kind < 0.40:
            return [self._alone(frames)]
        return self._sequence(frames, self._r.choice([20, 60, 150]), cut_share=0.3)

    def _alone(self, frames: int) -> Placed:
        """One utterance anywhere, mostly early; cut off where the window is too short for it."""
        utterance = self._next()
        latest = max(0, frames - utterance.length)
        return Placed(utterance, self._r.randint(0, min(latest, self._r.choice([100, FULL]))))

    def _next(self) -> Prepared:
        """The next utterance, or some of its words."""
        utterance = next(self._deck)
        return part_of(utterance, self._r) if self._r.random() < self._variety.parts else utterance

    def _alike(self, rows: int, groups: int) -> list[list[Prepared]]:
        pool = sorted(islice(self._deck, rows * groups), key=lambda u: u.length)
        grouped = [pool[i : i + rows] for i in range(0, len(pool), rows)]
        self._r.shuffle(grouped)
        return grouped

    def _whole_window(self) -> list[Placed]:
        r = self._r
        kind = r.random()
        if kind < 0.50:
            return self._sequence(FULL, 150, cut_share=0.5)
        if kind < 0.70:
            return self._sequence(FULL, r.choice([100, 600]), gap=(30, 300), most=r.randint(2, 6))
        if kind < 0.92:
            return self._sequence(FULL, r.choice([80, 80, 500, 2000]), most=1)
        return []

    def _sequence(
        self, frames: int, first: int, gap: Span | None = None, cut_share: float = 0.0, most: int = 99
    ) -> list[Placed]:
        """Utterances one after another from a frame up to `first`; the last may be cut off by the window's end."""
        r = self._r
        start, gap, cut = r.randint(0, first), gap or r.choice([TIGHT, LOOSE, SPARSE]), r.random() < cut_share
        placed: list[Placed] = []
        while len(placed) < most and start + 40 <= frames:
            utterance = self._next()
            if start + utterance.length > frames and not (cut and placed):
                break
            placed.append(Placed(utterance, start))
            start += utterance.length + r.randint(*gap)
        return placed

    def _batch(
        self,
        frames: int,
        rows: Sequence[Sequence[Placed]],
        timestamps: float,
        *,
        moved: float = 0.0,
        prompts: float = 0.0,
        longest_prompt: int = 220,
        padding: int = 0,
    ) -> Batch:
        """Rows as one batch; `timestamps`, `moved` and `prompts` are the shares that have timestamps, offset, prompt."""
        r = self._r
        windows = []
        for placed in rows:
            offset = r.randint(0, POSITIONS - frames // 2) if r.random() < moved else 0
            target = self._target(placed, frames, offset, r.random() < timestamps)
            if r.random() < prompts:
                target = self._prompted(target, self._prompt()[-longest_prompt:])
            sound = sound_of(placed, frames, self._noises, r, self._variety)
            windows.append(Window(sound, offset, target, phonemes_of(placed, frames)))
        return collate(windows, self._ids.end, padding)

    def _target(self, placed: Sequence[Placed], frames: int, offset: int, timestamps: bool) -> Target:
        """What is to be said of a window that begins at encoder position `offset`."""
        ids, r = self._ids, self._r
        if not placed:
            start = ids.zero if timestamps else ids.no_timestamps
            return Target([ids.start, start], [ids.no_speech, ids.end], [ANYWHERE] * 2)
        tokens: list[int] = []
        spans: list[Span] = []
        for number, item in enumerate(placed):
            said = spoken_tokens(item, frames, offset, ids.zero if timestamps else None, first=number == 0)
            tokens += [token for token, _ in said]
            spans += [span for _, span in said]
        if not timestamps:
            labels = [ids.no_timestamps, *tokens, ids.end]
            return Target([ids.start, ids.no_timestamps, *tokens], labels, [ANYWHERE, *spans, ANYWHERE])
        heard = list(tokens)
        if r.random() < 0.3:  # a caller may force the first timestamp, wrong as it may be
            heard[0] = ids.zero + (0 if r.random() < 0.5 else r.randint(0, 50))
        return Target([ids.start, *heard], [*tokens, ids.end], [*spans, ANYWHERE])

    def _prompt(self) -> list[int]:
        """Text of an earlier window, with or without timestamps."""
        r = self._r
        length, timestamps, position = r.choice([8, 20, 40, 80, 160, 220]), r.random() < 0.6, 0
        tokens: list[int] = []
        while len(tokens) < length:
            utterance = r.choice(self._corpus)
            said = [piece.token for piece in utterance.pieces]
            if timestamps:
                begin = self._ids.zero + position % TIMESTAMPS
                position += utterance.length // 2
                said = [begin, *said, self._ids.zero + position % TIMESTAMPS]
                position += r.randint(5, 60)
            tokens += said
        return tokens[-length:]

    def _prompted(self, target: Target, prompt: list[int]) -> Target:
        before = len(prompt) + 1
        return Target(
            [self._ids.previous, *prompt, *target.inputs],
            [*[IGNORED] * before, *target.labels],
            [*[ANYWHERE] * before, *target.spans],
        )


def collate(windows: Sequence[Window], end: int, padding: int) -> Batch:
    """Windows as one batch, targets filled up with `end` that no label counts."""
    spans = [[bound for span in window.target.spans for bound in span] for window in windows]
    return Batch(
        frames=torch.from_numpy(np.stack([window.frames for window in windows])),
        offsets=torch.tensor([window.offset for window in windows]),
        inputs=padded([window.target.inputs for window in windows], end),
        labels=padded([window.target.labels for window in windows], IGNORED),
        spans=padded(spans, -1).unflatten(1, (-1, 2)),
        phonemes=torch.from_numpy(np.stack([window.phonemes for window in windows])),
        padding=padding,
    )


def windows_of(
    utterances: Sequence[Utterance],
    noises: Sequence[LogMel],
    tokenizer: WhisperTokenizer,
    seed: int,
    variety: Variety = FIRST,
) -> tuple[Windows, int]:
    """Windows over a spoken corpus, and its number of phonemes."""
    prepared, phonemes = prepare(utterances, tokenizer)
    return Windows(prepared, noises, special_ids(tokenizer), seed, variety), phonemes
