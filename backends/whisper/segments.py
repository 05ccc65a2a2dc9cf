"""From what was decoded of a window to segments: their words, the probabilities of their tokens, their place in the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from sys import float_info

from faster_whisper.tokenizer import Tokenizer

from backends.types import Segment, TokenLogprob, Word
from backends.whisper.cutting import Piece
from backends.whisper.decoding import Aligned
from backends.whisper.fallback import Attempt
from backends.whisper.model import FRAMES_PER_SECOND
from backends.whisper.passages import Passage
from backends.whisper.timeline import Timeline
from backends.whisper.words import Timed, split, timed_words, usual_length, within


@dataclass(frozen=True, slots=True)
class Said:
    """A segment of a window, times in seconds of the window. text_tokens: its tokens without those of times."""

    piece: Piece
    text_tokens: tuple[int, ...]
    words: Sequence[Timed] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


def spoken(tokenizer: Tokenizer, pieces: Sequence[Piece]) -> list[Said]:
    """The pieces that say something and last."""
    said = [Said(piece, tuple(token for token in piece.tokens if token < tokenizer.eot)) for piece in pieces]
    return [one for one in said if one.piece.start < one.piece.end and tokenizer.decode(list(one.text_tokens)).strip()]


def with_logprobs(tokenizer: Tokenizer, said: Sequence[Said], aligned: Aligned) -> list[Said]:
    """Each with how likely the model holds each of its tokens after those before it, whatever the search thought of it.

    aligned: of the text tokens of all of them.
    """
    probabilities = iter(aligned.probabilities)
    return [
        replace(
            one,
            logprobs=tuple(
                TokenLogprob(tokenizer.decode([token]), log(max(probability, float_info.min)))
                for token, probability in zip(one.text_tokens, probabilities, strict=False)
            ),
        )
        for one in said
    ]


def with_words(tokenizer: Tokenizer, said: Sequence[Said], aligned: Aligned, silent_until: float) -> list[Said]:
    """Each with its words, and with the times that they give it. silent_until: when the word before the window ended."""
    words = timed_words(tokenizer, [token for one in said for token in one.text_tokens], aligned)
    usual = usual_length(words)
    timed = []
    for one, part in zip(said, split(words, [len(one.text_tokens) for one in said]), strict=True):
        own, start, end = within(part, one.piece.start, one.piece.end, silent_until=silent_until, usual=usual)
        timed.append(replace(one, piece=replace(one.piece, start=start, end=end), words=own))
        silent_until = end if own else silent_until
    return timed


def segment(tokenizer: Tokenizer, said: Said, attempt: Attempt, passage: Passage, offset: float) -> Segment:
    """The segment at its times in the file; it has no number yet. offset: where in the passage the window begins."""
    start, end = passage.stretch(offset + said.piece.start, offset + said.piece.end)
    words = tuple(
        Word(word.text.strip(), *passage.moment(offset + word.start, offset + word.end), float(word.probability))
        for word in said.words
    )
    return Segment(
        id=0,
        seek=round(passage.stretch(offset, offset)[0] * FRAMES_PER_SECOND),
        start=words[0].start if words else start,
        end=words[-1].end if words else end,
        text=tokenizer.decode(list(said.text_tokens)),
        tokens=said.piece.tokens,
        temperature=attempt.temperature,
        avg_logprob=attempt.heard.avg_logprob,
        compression_ratio=attempt.compression_ratio,
        no_speech_prob=attempt.heard.no_speech_prob,
        words=words,
        logprobs=said.logprobs,
    )


def placed(found: Segment, number: int, timeline: Timeline) -> Segment:
    """The segment with its number, and with its times after those before it and within the file."""
    start, end = timeline.place(found.start, found.end)
    inside = Timeline(start, end)
    words = tuple(Word(word.text, *inside.place(word.start, word.end), word.probability) for word in found.words)
    return replace(found, id=number, start=start, end=end, words=words)
