"""What the decoder is told before it begins: words to expect, and the text so far."""

from __future__ import annotations

from collections.abc import Sequence

from faster_whisper.tokenizer import Tokenizer

# Half of the decoder's 448 positions, without the mark that the tokens before the transcript begin with.
ROOM = 223
# Windows share a batch when as many tokens stand before their transcripts: lengths are rounded so that they meet.
ROUND = 16


def words_to_expect(tokenizer: Tokenizer, hotwords: Sequence[str]) -> list[int]:
    """The tokens of hotwords, as many as there is room for."""
    text = ", ".join(word.strip() for word in hotwords if word.strip())
    return tokenizer.encode(" " + text)[:ROOM] if text else []


def text_before(tokenizer: Tokenizer, prompt: str | None) -> list[int]:
    """The tokens of the text that the caller says comes before the audio."""
    text = (prompt or "").strip()
    return tokenizer.encode(" " + text) if text else []


def previous(
    tokenizer: Tokenizer, expected: Sequence[int], history: Sequence[int], *, rounded: bool
) -> tuple[int, ...]:
    """The tokens to put before <|startoftranscript|>: expected words, then as much of history's end as fits.

    rounded: history may be cut a little shorter, so that it meets others of the same length.
    """
    room = ROOM - len(expected)
    kept = min(len(history), room)
    if rounded and len(expected) + kept >= ROUND:
        kept = max(0, kept - (len(expected) + kept) % ROUND)
    tokens = [*expected, *history[len(history) - kept :]]
    return (tokenizer.sot_prev, *tokens) if tokens else ()
