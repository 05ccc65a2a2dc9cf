"""What carries an engine: a process or a container, as those who start and stop it see it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Protocol

KEPT_LINES = 30
LONGEST_LINE = 400  # characters
SHOWN_LINES = 3
SHORTEST_SECRET = 4  # characters; shorter values stand in too many lines by chance
HIDDEN = "***"
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class Carrier(Protocol):
    """One process or container, which is there or not."""

    async def adopt(self) -> bool:
        """Take over what runs already, of an earlier life of this proxy or by another hand; False where nothing does."""

    async def start(self, more: tuple[str, ...]) -> None:
        """Start it, with more options at the end of its command. Raises Unavailable; then nothing of it is left."""

    async def ended(self) -> str:
        """Wait until it is gone, however that comes; in words, how it ended."""

    async def stop(self) -> None:
        """End it; it is gone when this returns. Raises Unavailable when that cannot be told."""

    async def said(self) -> list[str]:
        """The last lines that it wrote, without secrets."""

    async def close(self) -> None:
        """Let go of it: what lives no longer than the proxy ends now."""


class Lines:
    """The last lines of an output, without the values that are nobody's business."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: one may be part of another.
        self._secrets = sorted((each for each in secrets if len(each) >= SHORTEST_SECRET), key=len, reverse=True)
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._open = ""

    def feed(self, text: str) -> None:
        """More of the output, cut anywhere."""
        *whole, self._open = (self._open + text).replace("\r", "\n").split("\n")
        for line in whole:
            self._keep(line)
        if len(self._open) > LONGEST_LINE * 4:
            self._keep(self._open)
            self._open = ""

    def last(self) -> list[str]:
        """The lines, the newest at the end; one that is not ended yet is one."""
        return [*self._lines, *filter(None, [self._cleaned(self._open)])]

    def _keep(self, line: str) -> None:
        if cleaned := self._cleaned(line):
            self._lines.append(cleaned)

    def _cleaned(self, line: str) -> str:
        line = _ESCAPES.sub("", line).rstrip()
        for secret in self._secrets:
            line = line.replace(secret, HIDDEN)
        return line[:LONGEST_LINE]


def secrets_in(environment: Mapping[str, str]) -> list[str]:
    """The values of those variables that are named like secrets."""
    return [value for name, value in environment.items() if _SECRET.search(name)]


def shown(lines: list[str]) -> str:
    """The end of an output, as part of a sentence; empty where nothing was written."""
    return f" Its last words: {' | '.join(lines[-SHOWN_LINES:])}" if lines else ""
