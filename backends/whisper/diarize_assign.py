"""Segments given to the speakers of turns; a segment in which the speaker changes becomes several."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from backends.types import Segment, Word
from backends.whisper.diarize_names import Turn


def assign(segments: Sequence[Segment], turns: Sequence[Turn]) -> list[Segment]:
    """The segments with speakers: who speaks most of their time, or nearest to it; without turns, nobody.

    Segments with words are cut where the speaker changes; texts joined are the text before. Whisper's tokens and
    figures belong to what it decoded at once: all parts have the figures, the first has the tokens. Ids stay.
    turns: in order of time, apart.
    """
    if not turns:
        return list(segments)
    ends = [turn.end for turn in turns]
    found: list[Segment] = []
    for segment in segments:
        groups = _groups(segment, turns, ends)
        texts = cut(segment.text, [[word.text for word in words] for _, words in groups]) if len(groups) > 1 else None
        if texts is None:
            found.append(replace(segment, speaker=speaker_of(segment.start, segment.end, turns, ends)))
        else:
            found += _parts(segment, groups, texts)
    return found


def _groups(segment: Segment, turns: Sequence[Turn], ends: Sequence[float]) -> list[tuple[str, list[Word]]]:
    """Neighbouring words of one speaker, together."""
    spoken = [(speaker_of(word.start, word.end, turns, ends), word) for word in segment.words]
    return [(who, [word for _, word in group]) for who, group in groupby(spoken, key=lambda pair: pair[0])]


def _parts(segment: Segment, groups: Sequence[tuple[str, list[Word]]], texts: Sequence[str]) -> list[Segment]:
    last = len(groups) - 1
    return [
        replace(
            segment,
            start=words[0].start if number else segment.start,
            end=words[-1].end if number < last else segment.end,
            text=text,
            speaker=who,
            words=tuple(words),
            tokens=() if number else segment.tokens,
            logprobs=() if number else segment.logprobs,
        )
        for number, ((who, words), text) in enumerate(zip(groups, texts, strict=True))
    ]


def speaker_of(start: float, end: float, turns: Sequence[Turn], ends: Sequence[float]) -> str:
    """Who speaks most between start and end, or nearest to it. ends: of the turns, which are apart, at least one."""
    first = min(bisect_left(ends, start), len(turns) - 1)
    shares: dict[str, float] = {}
    for number in range(first, len(turns)):
        turn = turns[number]
        if turn.start >= end:
            break
        shared = min(end, turn.end) - max(start, turn.start)
        if shared > 0:
            shares[turn.speaker] = shares.get(turn.speaker, 0.0) + shared
    if shares:
        return max(shares, key=lambda speaker: shares[speaker])
    near = turns[max(0, first - 1) : first + 1]
    return min(near, key=lambda turn: max(turn.start - end, start - turn.end)).speaker


def cut(text: str, groups: Sequence[Sequence[str]]) -> list[str] | None:
    """The text in one part for each group of words, the spaces before its first word included; None: words are missing."""
    places: list[int] = []
    at = 0
    for words in groups:
        for number, word in enumerate(words):
            found = text.find(word, at)
            if found < 0:
                return None
            if number == 0:
                places.append(len(text[:found].rstrip()) if places else 0)
            at = found + len(word)
    return [text[start:end] for start, end in pairwise([*places, len(text)])]
