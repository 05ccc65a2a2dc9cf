"""Takes the stop sequence off the end of an answer: TGI leaves it in, OpenAI's API promises that it is not there."""

from __future__ import annotations

from dataclasses import replace

from backends.types import Delta


class StopFilter:
    """Holds back the pieces that may belong to a stop sequence until it is known whether they do. matched: the one cut off."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held: list[Delta] = []
        self.matched: str | None = None

    def feed(self, piece: Delta) -> list[Delta]:
        """Take the next piece of text; returns the pieces that no stop sequence can reach any more."""
        if not self._stops:
            return [piece]
        self._held.append(piece)
        text = "".join(held.text for held in self._held)
        return self._release(len(text) - max(_overlap(text, stop) for stop in self._stops))

    def finish(self, *, stopped: bool) -> list[Delta]:
        """The last pieces. stopped: the engine ended at a stop sequence, which is cut off."""
        text = "".join(held.text for held in self._held)
        if stopped:
            self.matched = max((stop for stop in self._stops if text.endswith(stop)), key=len, default=None)
        cut = len(text) - len(self.matched or "")
        before = self._release(cut)
        room = cut - sum(len(piece.text) for piece in before)
        straddling, self._held = self._held, []
        return before + [replace(piece, text=piece.text[:room]) for piece in straddling[:1] if room > 0]

    def _release(self, end: int) -> list[Delta]:
        """Take out the held pieces that lie wholly before character `end`."""
        count, reached = 0, 0
        while count < len(self._held) and reached + len(self._held[count].text) <= end:
            reached += len(self._held[count].text)
            count += 1
        released, self._held = self._held[:count], self._held[count:]
        return released


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, or all of it."""
    return next((size for size in range(min(len(text), len(stop)), 0, -1) if text.endswith(stop[:size])), 0)
