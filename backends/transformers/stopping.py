"""Stop strings over a text that arrives in pieces: what may go out, and when to stop."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Lets text through up to the first stop string to be complete, wherever the borders of the pieces lie.

    The end of the text that may be the beginning of a stop string waits for more, so no part of one ever goes out.
    Of two that are complete at the same character, the longer counts. matched: the one that was.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.hit = False
        self.matched: str | None = None

    def push(self, piece: str) -> str:
        """The text that may go out now; `hit` is set once a stop string is complete, and then nothing follows."""
        if not self._stops:
            return piece
        text = self._held + piece
        found = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        if found:
            end, start = min(found)
            self.hit, self._held, self.matched = True, "", text[start:end]
            return text[:start]
        free = len(text) - self._undecided(text)
        self._held = text[free:]
        return text[:free]

    def flush(self) -> str:
        """What still waited, now that no more text comes."""
        text, self._held = self._held, ""
        return text

    def _undecided(self, text: str) -> int:
        """The number of characters at the end of text that begin a stop string."""
        longest = min(len(text), max(map(len, self._stops)) - 1)
        return next((n for n in range(longest, 0, -1) if any(stop.startswith(text[-n:]) for stop in self._stops)), 0)
