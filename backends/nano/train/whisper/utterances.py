"""What is said in a window: utterances with the tokens and phonemes of every moment, whole, in part and placed in time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import numpy as np
from numpy.typing import NDArray
from transformers import WhisperTokenizer

from backends.nano.train.whisper.espeak import SILENCE
from backends.nano.train.whisper.synthesize import Utterance
from backends.nano.train.whisper.tokenizer import POSITIONS_PER_SECOND

FULL = 3000  # frames of 10 ms in Whisper's 30 s; the encoder has one position for two of them
POSITIONS = FULL // 2
Span = tuple[int, int]


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


def part_of(utterance: Prepared, r: Random) -> Prepared:
    """Some words of an utterance, as where speech without a pause was cut."""
    ends = sorted({piece.word_end for piece in utterance.pieces})
    starts = [0.0, *ends[:-1]]
    first = r.randrange(len(starts)) if r.random() < 0.5 else 0
    last = r.randrange(first, len(ends)) if not first or r.random() < 0.5 else len(ends) - 1
    pieces = [piece for piece in utterance.pieces if starts[first] < piece.word_end <= ends[last]]
    begin = max(0, int(pieces[0].start * 100) - 2) // 2 * 2 if first else 0
    end = min(utterance.length, math.ceil(ends[last] * 100) + 3)
    moved = [
        Piece(piece.token, *(time - begin / 100 for time in (piece.start, piece.end, piece.word_end)))
        for piece in pieces
    ]
    return Prepared(utterance.frames[:, begin:end], moved, utterance.phonemes[begin // 2 : end // 2 + 1])


def spoken_tokens(
    item: Placed, frames: int, offset: int, zero: int | None, *, first: bool = False
) -> list[tuple[int, Span]]:
    """The tokens of one placed utterance with their spans; between timestamps from token `zero`, if given.

    An utterance that the window cuts off has its start alone, for the next window begins with it; where it is the `first`
    or without timestamps, the words that are whole.
    """

    def position(frame: float) -> int:
        return max(0, min(POSITIONS, offset + round(frame / 2))) - offset

    begin, end = position(item.start + 1), position(item.start + item.utterance.speech_end)
    start_mark = [] if zero is None else [(zero + offset + begin, (begin - 4, begin + 6))]
    whole = item.start + item.utterance.speech_end <= frames + 2
    if zero is not None and not whole and not first:
        return start_mark
    words = []
    for piece in item.utterance.pieces:
        if item.start + piece.word_end * 100 > frames + 2:
            break
        begins = int((item.start + piece.start * 100) / 2)
        ends = math.ceil((item.start + piece.end * 100) / 2)
        words.append((piece.token, (begins - 1, max(ends + 1, begins + 3))))
    end_mark = [] if zero is None or not whole else [(zero + offset + end, (end - 6, end + 4))]
    return [*start_mark, *words, *end_mark]


def phonemes_of(placed: Sequence[Placed], frames: int) -> NDArray[np.int64]:
    """The phoneme of every encoder position of a window."""
    phonemes = np.zeros(frames // 2, np.int64)
    for item in placed:
        begin = item.start // 2
        part = item.utterance.phonemes[: len(phonemes) - begin]
        phonemes[begin : begin + len(part)] = np.maximum(phonemes[begin : begin + len(part)], part)
    return phonemes
