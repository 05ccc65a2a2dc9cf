"""Where utterances begin and end, decided step by step from how likely each step is speech."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All but the probabilities in steps. begins: probability from which an utterance begins; goes_on: from which it goes on;
    silence: how long it must be quiet to end; shortest: what lasts less is noise; longest: what lasts more is cut where it
    is quietest; padding: kept of the quiet on both sides.
    """

    begins: float = 0.5
    goes_on: float = 0.35
    silence: int = 19
    shortest: int = 6
    longest: int = 469
    padding: int = 10


@dataclass(frozen=True, slots=True)
class Span:
    """An utterance's steps, [start, end), padding included."""

    start: int
    end: int


class Endpointer:
    """Cuts one stream. Spans come in order and apart from each other; how the steps were handed in changes nothing."""

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._heard = 0
        self._start: int | None = None
        self._voiced_until = 0
        self._settled = 0
        self._probabilities: list[float] = []

    @property
    def heard(self) -> int:
        """Steps so far."""
        return self._heard

    @property
    def voiced(self) -> int:
        """For how many steps the utterance under way has lasted; 0 = there is none."""
        return 0 if self._start is None else self._voiced_until - self._start

    @property
    def needed_from(self) -> int:
        """The first step that an utterance still to end may contain: that of the one under way, where there is one."""
        begin = self._heard if self._start is None else self._start
        return max(self._settled, begin - self._rules.padding)

    def feed(self, probabilities: Iterable[float]) -> list[Span]:
        """The utterances that end with these steps."""
        ended = []
        for probability in probabilities:
            span = self._step(probability)
            if span is not None:
                ended.append(span)
        return ended

    def finish(self) -> list[Span]:
        """The utterance under way, since nothing follows."""
        span = None if self._start is None else self._end(self._voiced_until)
        return [] if span is None else [span]

    def _step(self, probability: float) -> Span | None:
        rules = self._rules
        self._heard += 1
        if self._start is None:
            if probability >= rules.begins:
                self._start, self._voiced_until = self._heard - 1, self._heard
                self._probabilities = [probability]
            return None
        self._probabilities.append(probability)
        if probability >= rules.goes_on:
            self._voiced_until = self._heard
        if self._heard - self._voiced_until >= rules.silence:
            return self._end(self._voiced_until)
        if self._heard - self._start >= rules.longest:
            return self._cut()
        return None

    def _end(self, at: int) -> Span | None:
        """The utterance up to a step, padded; None when it was too short to be one."""
        rules = self._rules
        start, self._start = self._start, None
        if start is None or at - start < rules.shortest:
            return None
        span = Span(max(self._settled, start - rules.padding), min(self._heard, at + rules.padding))
        self._settled = span.end
        return span

    def _cut(self) -> Span | None:
        """End an utterance that goes on, at the quietest step of its second half; the next begins right there."""
        half = len(self._probabilities) // 2
        later = self._probabilities[half:]
        start = self._heard - len(self._probabilities)
        at = start + half + later.index(min(later))
        if at >= self._voiced_until:
            return self._end(self._voiced_until)
        span = Span(self.needed_from, at)
        self._probabilities = self._probabilities[at - start :]
        self._start = self._settled = at
        return span
