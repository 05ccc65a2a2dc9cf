"""When each word of a window is said, read from where the decoder looked while it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from statistics import median

from faster_whisper.tokenizer import Tokenizer

from backends.whisper.decoding import Aligned

POSITIONS_PER_SECOND = 50
SENTENCE_ENDS = ".。!！?？"
OPENING = "\"'“¿([{-"
CLOSING = "\"'.。,，!！?？:：”)]}、"
LONGEST_MEDIAN = 0.7
# How far a segment's own time may be from its word's before it is the word's that is wrong; and how far words may lie
# outside of their segment at all, since attention that has lost its way wanders through the whole window.
SLACK = 0.5
REACH = 1.0


@dataclass(frozen=True, slots=True)
class Timed:
    """A word with its space before it. start, end: seconds in the window; tokens: how many of the text it is written with."""

    text: str
    start: float
    end: float
    probability: float
    tokens: int


def timed_words(tokenizer: Tokenizer, tokens: Sequence[int], aligned: Aligned) -> list[Timed]:
    """The words that the text tokens spell, punctuation joined to them, none longer than a word can be."""
    texts, parts = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    lengths = [len(part) for part in parts[:-1]]  # the last is the end of the text
    bounds = [0, *accumulate(lengths)]
    starts = _starts(aligned.pairs)
    if not lengths or len(starts) <= bounds[-1]:
        return []
    words = [
        Timed(
            text,
            starts[begin],
            starts[end],
            sum(aligned.probabilities[begin:end]) / (end - begin),
            end - begin,
        )
        for text, begin, end in zip(texts, bounds, bounds[1:], strict=False)
    ]
    return _joined(_shortened(words))


def usual_length(words: Sequence[Timed]) -> float:
    """How long a word lasts here, in seconds: the median, 0 when none has a length."""
    lengths = [word.end - word.start for word in words if word.end > word.start]
    return min(LONGEST_MEDIAN, median(lengths)) if lengths else 0.0


def split(words: Sequence[Timed], sizes: Sequence[int]) -> list[list[Timed]]:
    """The words of each segment. sizes: of the segments, in text tokens; a word over an edge belongs to the first."""
    parts: list[list[Timed]] = []
    left = list(words)
    for size in sizes:
        taken = 0
        part = []
        while left and taken < size:
            part.append(left.pop(0))
            taken += part[-1].tokens
        parts.append(part)
    return parts


def within(
    words: Sequence[Timed], start: float, end: float, *, silent_until: float, usual: float
) -> tuple[list[Timed], float, float]:
    """A segment's words and its own start and end, each set right by the other where one is plainly wrong.

    The first words after a pause tend to reach into it, the last ones into the next; segments tend to begin early.
    silent_until: when the word before ended.
    """
    placed = _after_pause([_clipped(word, start - REACH, end + REACH) for word in words], silent_until, usual)
    if not placed:
        return placed, start, end
    first, last = placed[0], placed[-1]
    if start < first.end and start - SLACK > first.start:
        placed[0] = replace(first, start=max(0.0, min(first.end - usual, start)))
    else:
        start = first.start
    if end > last.start and end + SLACK < last.end:
        placed[-1] = replace(placed[-1], end=max(placed[-1].start + usual, end))
    else:
        end = last.end
    return placed, start, end


def _clipped(word: Timed, first: float, last: float) -> Timed:
    return replace(word, start=min(max(word.start, first), last), end=min(max(word.end, first), last))


def _starts(pairs: Sequence[tuple[int, int]]) -> list[float]:
    """The second at which each token begins: where the path first comes to it."""
    return [
        position / POSITIONS_PER_SECOND
        for number, (token, position) in enumerate(pairs)
        if number == 0 or token != pairs[number - 1][0]
    ]


def _shortened(words: Sequence[Timed]) -> list[Timed]:
    """Words at the edge of a sentence, which swallow the pause there, cut to twice the usual length."""
    longest = 2 * usual_length(words)
    result = list(words)
    for number in range(1, len(words)):
        word = words[number]
        if not 0 < longest < word.end - word.start:
            continue
        if word.text.strip() in SENTENCE_ENDS:
            result[number] = replace(word, end=word.start + longest)
        elif words[number - 1].text.strip() in SENTENCE_ENDS:
            result[number] = replace(word, start=word.end - longest)
    return result


def _joined(words: Sequence[Timed]) -> list[Timed]:
    """Opening marks written with the word after them, closing ones with the word before; the word's times hold."""
    result: list[Timed] = []
    opening: Timed | None = None
    for bare in words:
        mark = bare.text.strip()
        word = bare
        if opening is not None:
            word = replace(bare, text=opening.text + bare.text, tokens=opening.tokens + bare.tokens)
            opening = None
        elif mark and mark in OPENING and word.text.startswith(" "):
            opening = word
            continue
        if mark and mark in CLOSING and result and not word.text.startswith(" "):
            before = result[-1]
            result[-1] = replace(before, text=before.text + word.text, tokens=before.tokens + word.tokens)
        else:
            result.append(word)
    return result if opening is None else [*result, opening]


def _after_pause(words: list[Timed], silent_until: float, usual: float) -> list[Timed]:
    """The words with the first ones cut short where they reach far back into a pause."""
    if not words or not 0 < 4 * usual < words[0].end - silent_until:
        return words
    longest = 2 * usual
    first, *rest = words
    second = rest[0] if rest else None
    if first.end - first.start <= longest and not (second and second.end - first.start > 2 * longest):
        return words
    if second and second.end - second.start > longest:
        edge = max(second.end / 2, second.end - longest)
        first, second = replace(first, end=edge), replace(second, start=edge)
        rest[0] = second
    return [replace(first, start=max(0.0, first.end - longest)), *rest]
