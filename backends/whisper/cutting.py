"""What the decoder said of a window, cut into segments where it put times, and where to go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backends.whisper.model import FRAMES_PER_SECOND

SECONDS_PER_STAMP = 0.02
FRAMES_PER_STAMP = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment of a window. start, end: in seconds from the window's start; tokens: with their times."""

    start: float
    end: float
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """A window's segments, and how many of its frames they settle; finished: nothing is said after the last."""

    pieces: tuple[Piece, ...]
    frames: int
    finished: bool


def cut(tokens: Sequence[int], *, first_stamp: int, frames: int) -> Cut:
    """Cut between two times in a row. A segment begun and not ended is left to the next window, which begins with it.

    first_stamp: the token of time 0, later times follow it; frames: of the window, without padding, 10 ms each.
    """
    stamps = [token >= first_stamp for token in tokens]
    finished = len(tokens) > 1 and stamps[-1] and not stamps[-2]
    ends = [number for number in range(1, len(tokens)) if stamps[number] and stamps[number - 1]]
    if not ends:
        return Cut((_only(tokens, stamps, first_stamp, frames),), frames, finished)
    if finished:
        ends.append(len(tokens))
    pieces = []
    for begin, end in zip([0, *ends], ends, strict=False):
        part = tokens[begin:end]
        start, stop = ((token - first_stamp) * SECONDS_PER_STAMP for token in (part[0], part[-1]))
        pieces.append(Piece(start, stop, tuple(part)))
    settled = (tokens[ends[-1] - 1] - first_stamp) * FRAMES_PER_STAMP
    rest = tokens[ends[-1] :]
    if rest and 0 < settled < frames:
        return Cut(tuple(pieces), settled, finished)
    if rest:  # going on there would lead nowhere
        pieces.append(Piece(min(settled, frames) / FRAMES_PER_SECOND, frames / FRAMES_PER_SECOND, tuple(rest)))
    return Cut(tuple(pieces), frames, finished)


def _only(tokens: Sequence[int], stamps: Sequence[bool], first_stamp: int, frames: int) -> Piece:
    """All tokens as one segment: from the time that they begin with to the last time in them, where they have such."""
    times = [(token - first_stamp) * SECONDS_PER_STAMP for token, stamp in zip(tokens, stamps, strict=True) if stamp]
    start = times[0] if times and stamps[0] else 0.0
    end = times[-1] if times and times[-1] > start else frames / FRAMES_PER_SECOND
    return Piece(start, end, tuple(tokens))
