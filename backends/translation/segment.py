"""Text cut into sentences for the model and put together again, with every space and line break where it was."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_FULL_STOPS = ".!?…؟۔։।॥።။"
_UNSPACED_STOPS = "。！？｡"  # the next sentence follows without a space
_CLOSERS = "\"'”’»›)]）」』】〉》"
_BREAKS = r"[\n\r\v\f\x85\u2028\u2029]"
_END = re.compile(rf"(?P<stop>[{_FULL_STOPS}{_UNSPACED_STOPS}]+)[{re.escape(_CLOSERS)}]*(?P<space>\s*)|{_BREAKS}\s*")
_CLAUSE_END = re.compile(r"[,;:،؛—–]\s+|[、，；：]\s*")
_WORD_END = re.compile(r"\s+")
_BREAK = re.compile(_BREAKS)
_LONGEST_ABBREVIATION = 24
_ABBREVIATION = re.compile(
    r"[^\W\d_]|\w(\.\w)+|al|approx|bd|bzw|ca|cf|chap|dept|dr|etc|evtl|ggf|gov|hr|hrsg|inc|jr|lt|ltd|messrs|mlle|mme|mr|mrs"
    r"|ms|mt|núm|op|pág|prof|resp|sgt|sr|sra|srta|st|str|tel|ud|uds|univ|usw|vgl|vs"
)
_BEFORE_A_NUMBER = re.compile(r"abb|art|fig|figs|kap|no|nos|nr|p|pp|sec|vol")


@dataclass(frozen=True, slots=True)
class Sentence:
    """What the model is to translate, and the gap behind it that stays as it is: spaces, line breaks, bare numbers.

    Without a text it is a gap alone, as before the first sentence.
    """

    text: str
    gap: str = ""


def split(text: str) -> Iterator[Sentence]:
    """Cut at ends of sentences and at line breaks; what has no letter in it is a gap. Together they are the text.

    Lazy: the next sentence is looked for when it is asked for.
    """
    for stretch in _stretches(text):
        body = stretch.strip()
        if not any(map(str.isalpha, body)):
            body = ""
        before, after = stretch.split(body, 1) if body else (stretch, "")
        if before:
            yield Sentence("", before)
        if body:
            yield Sentence(body, after)


def shorten(sentence: Sentence, fits: Callable[[str], bool]) -> Iterator[Sentence]:
    """Cut a sentence until every part fits: near its middle behind a comma, else between words, else anywhere. Lazy."""
    text = sentence.text
    if len(text) < 2 or fits(text):
        yield sentence
        return
    cut = _cut(text)
    head, tail = text[:cut].rstrip(), text[cut:].lstrip()
    between = text[len(head) : len(text) - len(tail)]
    yield from shorten(Sentence(head, between), fits)
    yield from shorten(Sentence(tail, sentence.gap), fits)


def join(sentences: Sequence[Sentence], translations: Sequence[str]) -> str:
    """The text of these sentences, each one replaced by its translation ("" for a gap alone).

    Scripts without spaces between sentences get one when the translation is in a script that has them.
    """
    parts, followers = list[str](), [*sentences, Sentence("")][1:]
    for sentence, following, translation in zip(sentences, followers, translations, strict=True):
        parts += (translation, sentence.gap)
        if following.text and not sentence.gap and _unspaced(sentence.text) and not _unspaced(translation):
            parts.append(" ")
    return "".join(parts)


def _stretches(text: str) -> Iterator[str]:
    start = 0
    for end in _END.finditer(text):
        if end["stop"] is None or _ends_sentence(text, end):
            yield text[start : end.end()]
            start = end.end()
    yield text[start:]


def _ends_sentence(text: str, end: re.Match[str]) -> bool:
    following = text[end.end() : end.end() + 1]
    if end["stop"][-1] in _UNSPACED_STOPS or not following or _BREAK.search(end["space"]):
        return True
    if not end["space"] or following.islower():
        return False
    return end["stop"] != "." or not _abbreviated(text, end.start(), following)


def _abbreviated(text: str, dot: int, following: str) -> bool:
    """Whether the dot belongs to the word before it: Mr., e.g., an initial, or an ordinal such as 3. in German."""
    words = text[max(0, dot - _LONGEST_ABBREVIATION) : dot].split()
    word = words[-1].lstrip("([{\"'“‘«").lower() if words else ""
    if word.isdigit():
        return len(word) <= 2
    pattern = _BEFORE_A_NUMBER if following.isdigit() else _ABBREVIATION
    return pattern.fullmatch(word) is not None


def _cut(text: str) -> int:
    middle = len(text) / 2
    for pattern in (_CLAUSE_END, _WORD_END):
        ends = [found.end() for found in pattern.finditer(text) if found.end() < len(text)]
        best = min(ends, key=lambda end: abs(end - middle), default=0)
        if best and (pattern is _WORD_END or abs(best - middle) < middle / 2):
            return best
    return int(middle)


def _unspaced(text: str) -> bool:
    """Whether text ends in a script that is written without spaces."""
    return text[-1:] == "｡" or (text != "" and unicodedata.east_asian_width(text[-1]) in "WF")
