"""Training windows: utterances laid out in time with noise, and what the decoder is to say about them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import WhisperTokenizer

from backends.nano.train.common import IGNORED, padded
from backends.nano.train.whisper.audio import FLOOR, MELS, LogMel, scaled
from backends.nano.train.whisper.espeak import SILENCE
from backends.nano.train.whisper.synthesize import Utterance
from backends.nano.train.whisper.tokenizer import POSITIONS_PER_SECOND, TIMESTAMPS, Ids, special_ids

FULL = 3000  # frames of 10 ms in Whisper's 30 s; the encoder has one position for two of them
POSITIONS = FULL // 2
SAMPLED_PADDING = 64
TIGHT, LOOSE, SPARSE = (8, 40), (20, 120), (60, 250)  # frames between utterances
Span = tuple[int, int]
ANYWHERE: Span = (-1, -1)


@dataclass(frozen=True)
class Mix:
    """What windows of 30 s are made of.

    one, several: shares of batches with one utterance and with several, both with sampled padding; in the others every
    frame is there. longest: encoder positions of several utterances. rows: windows of several in a batch. prompts:
    shares of windows after a prompt, with sampled padding and with every frame. whole: shares of windows with every
    frame that are dense, hold a few utterances, hold one; the rest holds none. warp: of the vocal tract, each way.
    softest: noise, log10 of its power.
    """

    one: float
    several: float
    longest: int
    rows: int
    prompts: tuple[float, float]
    whole: tuple[float, float, float]
    warp: float
    softest: float


FIRST = Mix(0.55, 0.36, 700, 9, (0.08, 0.2), (0.50, 0.20, 0.22), 0.07, -5.5)
FINE = Mix(0.40, 0.35, 1100, 8, (0.10, 0.35), (0.75, 0.10, 0.10), 0.12, -7.0)


@dataclass(frozen=True)
class Piece:
    """A token and when it is spoken, in seconds, with the end of its word."""

    token: int
    start: float
    end: float
    word_end: float


@dataclass(frozen=True)
class Prepared:
    """An utterance with its tokens and the phoneme of every encoder position."""

    frames: NDArray[np.float16]
    pieces: Sequence[Piece]
    phonemes: NDArray[np.int64]

    @property
    def length(self) -> int:
        """Frames of 10 ms."""
        return int(self.frames.shape[1])

    @property
    def speech_end(self) -> float:
        """When the last word ends, in frames."""
        return self.pieces[-1].word_end * 100


@dataclass(frozen=True)
class Placed:
    """An utterance and the frame of its window that it starts at."""

    utterance: Prepared
    start: int


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


def prepare(utterances: Sequence[Utterance], tokenizer: WhisperTokenizer) -> tuple[list[Prepared], int]:
    """Utterances with tokens and phoneme numbers, and how many phonemes there are; 0 is silence."""
    numbers: dict[str, int] = {}
    prepared = []
    for spoken in utterances:
        phonemes = np.zeros(spoken.length // 2 + 1, np.int64)
        for (name, start), (_, end) in pairwise(spoken.phonemes):
            positions = slice(math.ceil(start * POSITIONS_PER_SECOND), math.ceil(end * POSITIONS_PER_SECOND))
            phonemes[positions] = 0 if name.startswith(SILENCE) else numbers.setdefault(name, len(numbers) + 1)
        pieces = [piece for word in spoken.words for piece in split(word.text, word.start, word.end, tokenizer)]
        prepared.append(Prepared(spoken.frames, pieces, phonemes))
    return prepared, len(numbers) + 1


def split(word: str, start: float, end: float, tokenizer: WhisperTokenizer) -> list[Piece]:
    """The tokens of a word, its time shared among them by their letters."""
    tokens = tokenizer(f" {word}", add_special_tokens=False).input_ids
    letters = [max(1, len(tokenizer.decode([token]).strip())) for token in tokens]
    edges = start + (end - start) * np.cumsum([0, *letters]) / sum(letters)
    return [Piece(token, *times, end) for token, times in zip(tokens, pairwise(edges.tolist()), strict=True)]


class Windows:
    """Draws windows of three sorts from a corpus; everything random comes from `seed`."""

    def __init__(
        self, corpus: Sequence[Prepared], noises: Sequence[LogMel], ids: Ids, seed: int, mix: Mix = FIRST
    ) -> None:
        self._mix = mix
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
        r, mix = self._r, self._mix
        short, whole = mix.prompts
        while True:
            kind = r.random()
            if kind < mix.one:
                group = r.choice(list(self._alike(rows=24, groups=4)))
                frames = (max(u.length for u in group) + r.randint(20, 110)) // 2 * 2
                placed = [
                    [Placed(u, r.randint(0, min(frames - u.length, 100)))] if r.random() < 0.96 else [] for u in group
                ]
                yield self._batch(frames, placed, 0.45, prompts=short, longest_prompt=60, padding=SAMPLED_PADDING)
            elif kind < mix.one + mix.several:
                frames = r.randint(400, mix.longest) * 2
                placed = [self._sequence(frames, 110) for _ in range(mix.rows)]
                yield self._batch(frames, placed, 0.45, prompts=short, longest_prompt=60, padding=SAMPLED_PADDING)
            else:
                yield self._batch(FULL, [self._whole_window() for _ in range(6)], 0.5, prompts=whole)

    def _alike(self, rows: int, groups: int) -> list[list[Prepared]]:
        pool = sorted(islice(self._deck, rows * groups), key=lambda u: u.length)
        grouped = [pool[i : i + rows] for i in range(0, len(pool), rows)]
        self._r.shuffle(grouped)
        return grouped

    def _whole_window(self) -> list[Placed]:
        r = self._r
        dense, few, one = self._mix.whole
        kind = r.random()
        if kind < dense:
            return self._sequence(FULL, 150, cut_share=0.5)
        if kind < dense + few:
            return self._sequence(FULL, r.choice([100, 600]), gap=(30, 300), most=r.randint(2, 6))
        if kind < dense + few + one:
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
            utterance = next(self._deck)
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
            windows.append(Window(self._frames(placed, frames), offset, target, phonemes_of(placed, frames)))
        return collate(windows, self._ids.end, padding)

    def _frames(self, placed: Sequence[Placed], frames: int) -> LogMel:
        """The sound of a window: voices on silence, and mostly noise over them."""
        r = self._r
        sound = np.full((MELS, frames), FLOOR, np.float32)
        end = 20
        for item in placed:
            voice = self._varied(item.utterance.frames)[:, : frames - item.start]
            end = item.start + voice.shape[1]
            sound[:, item.start : end] = np.maximum(sound[:, item.start : end], voice)
        if r.random() < (0.6 if placed else 0.9):
            length = frames if r.random() < 0.5 else min(frames, end + r.randint(0, 150))
            recorded = r.choice(self._noises)
            begin = r.randint(0, recorded.shape[1] - length)
            level = r.uniform(self._mix.softest, -2.2) if placed else r.uniform(-6.0, 0.0)
            hiss = recorded[:, begin : begin + length] + level
            # Powers add up: log10(10^a + 10^b).
            sound[:, :length] = np.logaddexp(sound[:, :length] * math.log(10), hiss * math.log(10)) / math.log(10)
        return scaled(np.maximum(sound, FLOOR))

    def _varied(self, frames: NDArray[np.float16]) -> LogMel:
        """A voice with another vocal tract, another tilt, another loudness."""
        r = self._r
        voice = frames.astype(np.float32)
        if r.random() < 0.4:
            bins = np.clip(np.arange(MELS) * r.uniform(1 - self._mix.warp, 1 + self._mix.warp), 0, MELS - 1)
            low = np.minimum(bins.astype(int), MELS - 2)
            weight = (bins - low)[:, None].astype(np.float32)
            voice = voice[low] * (1 - weight) + voice[low + 1] * weight
        if r.random() < 0.4:
            voice = voice + np.linspace(-1, 1, MELS, dtype=np.float32)[:, None] * r.uniform(-0.4, 0.4)
        return voice + np.float32(r.uniform(-1.6, 0.3))

    def _target(self, placed: Sequence[Placed], frames: int, offset: int, timestamps: bool) -> Target:
        """What is to be said of a window that begins at encoder position `offset`."""
        ids, r = self._ids, self._r
        if not placed:
            start = ids.zero if timestamps else ids.no_timestamps
            return Target([ids.start, start], [ids.no_speech, ids.end], [ANYWHERE] * 2)
        tokens: list[int] = []
        spans: list[Span] = []
        for item in placed:
            said = spoken_tokens(item, frames, offset, ids.zero if timestamps else None)
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


def spoken_tokens(item: Placed, frames: int, offset: int, zero: int | None) -> list[tuple[int, Span]]:
    """The tokens of one placed utterance with their spans; between timestamps from token `zero`, if given.

    An utterance that the window cuts off has its start alone, or without timestamps the words that are whole.
    """

    def position(frame: float) -> int:
        return max(0, min(POSITIONS, offset + round(frame / 2))) - offset

    begin, end = position(item.start + 1), position(item.start + item.utterance.speech_end)
    start_mark = [] if zero is None else [(zero + offset + begin, (begin - 4, begin + 6))]
    whole = item.start + item.utterance.speech_end <= frames + 2
    if zero is not None and not whole:
        return start_mark
    words = []
    for piece in item.utterance.pieces:
        if item.start + piece.word_end * 100 > frames + 2:
            break
        first = int((item.start + piece.start * 100) / 2)
        last = math.ceil((item.start + piece.end * 100) / 2)
        words.append((piece.token, (first - 1, max(last + 1, first + 3))))
    end_mark = [] if zero is None else [(zero + offset + end, (end - 6, end + 4))]
    return [*start_mark, *words, *end_mark]


def phonemes_of(placed: Sequence[Placed], frames: int) -> NDArray[np.int64]:
    """The phoneme of every encoder position of a window."""
    phonemes = np.zeros(frames // 2, np.int64)
    for item in placed:
        begin = item.start // 2
        part = item.utterance.phonemes[: len(phonemes) - begin]
        phonemes[begin : begin + len(part)] = np.maximum(phonemes[begin : begin + len(part)], part)
    return phonemes


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
    mix: Mix = FIRST,
) -> tuple[Windows, int]:
    """Windows over a spoken corpus, and its number of phonemes."""
    prepared, phonemes = prepare(utterances, tokenizer)
    return Windows(prepared, noises, special_ids(tokenizer), seed, mix), phonemes
