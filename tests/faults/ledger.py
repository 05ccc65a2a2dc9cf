"""Nothing is lost: what was sent ends whole and byte for byte, in an explicit error, or because its client left."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.backends.remote.rig import Answer
from tests.faults.scripted_engine import ScriptedEngine

Ending: TypeAlias = str
"""`whole`, `status N` (an error answer), `told` (an error event), `cut` (what came is a prefix, and its framing says that it is
not all), `left` (the client went), or `unknown`."""
WHOLE, TOLD, CUT, LEFT, UNKNOWN = "whole", "told in the stream", "cut off", "client left", "unknown"


@dataclass(slots=True)
class Entry:
    """One request. frames: the events it should get, or body: of another answer; ending: None while it is under way."""

    ask: str
    frames: tuple[bytes, ...] = ()
    body: bytes | None = None
    ending: Ending | None = None
    answer: Answer = field(default_factory=lambda: Answer(b""))
    seconds: float = 0.0

    def close(self, raw: bytes, seconds: float) -> None:
        """All that will come has come."""
        self.answer, self.seconds = Answer(raw), seconds
        self.ending = judged(self.answer, self.frames, self.body)

    def leave(self) -> None:
        """Its client has gone."""
        self.ending = LEFT

    def header(self, name: str) -> str | None:
        """The value of an answer's header."""
        lines = (line.partition(b": ") for line in self.answer.head.split(b"\r\n"))
        return next((value.decode() for key, _, value in lines if key == name.lower().encode()), None)


@dataclass
class Ledger:
    """All requests of a test. notes: what was seen beside them."""

    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def enter(self, entry: Entry, *, again: bool = False) -> Entry:
        """Before it is sent. again: its client sends a request once more."""
        assert again or all(other.ask != entry.ask for other in self.entries), "an id of its own"
        self.entries.append(entry)
        return entry

    def note(self, fact: str) -> None:
        """Something else that the test has made sure of."""
        self.notes.append(fact)

    @property
    def endings(self) -> Counter[Ending]:
        """How many ended how."""
        return Counter(entry.ending or UNKNOWN for entry in self.entries)

    def settle(self, *engines: ScriptedEngine, at_most: int = 1) -> None:
        """Every request has ended in a known way, none was executed more than `at_most` times, a whole one at least once.

        Raises AssertionError with the requests that have not.
        """
        lost = [entry for entry in self.entries if (entry.ending or UNKNOWN) == UNKNOWN]
        assert not lost, f"unknown = {len(lost)}; the first: {lost[0].ask} {lost[0].answer.raw[-2000:]!r}"
        executions = sum((engine.executions for engine in engines), Counter[str]())
        twice = {ask: times for ask, times in executions.items() if times > at_most}
        assert not twice, f"executed more than {at_most} times: {twice}"
        if engines:
            unfounded = [entry.ask for entry in self.entries if entry.ending == WHOLE and not executions[entry.ask]]
            assert not unfounded, f"answered, though no engine was asked: {unfounded}"

    @property
    def seen(self) -> str:
        """What the table of faults says about it."""
        counted = ", ".join(f"{number} {ending}" for ending, number in sorted(self.endings.items()))
        sent = f"{len(self.entries)} sent: {counted}" if self.entries else ""
        return "; ".join(filter(None, (sent, *self.notes)))


def judged(answer: Answer, frames: Sequence[bytes], whole: bytes | None) -> Ending:
    """How a request ended. frames: the sound stream's events; whole: the sound body of what is no stream of events."""
    if answer.status >= 400:
        return f"status {answer.status}" if answer.complete and _says_why(answer.body) else UNKNOWN
    if answer.status != 200:
        return UNKNOWN
    body, sound = answer.body, b"".join(frames) if whole is None else whole
    if answer.complete and body == sound:
        return WHOLE
    if not answer.complete:
        ended = b"\r\n0\r\n\r\n" in answer.raw  # and more came behind it
        return CUT if sound.startswith(body) and not ended else UNKNOWN
    if whole is None:
        before, error, _ = body.rpartition(b'data: {"error"')
        told = error and body.endswith(b"\n\n") and before in _prefixes(frames)
        return TOLD if told and _says_why(body[len(before) :].removeprefix(b"data: ")) else UNKNOWN
    return UNKNOWN


def _prefixes(frames: Sequence[bytes]) -> set[bytes]:
    return {b"".join(frames[:number]) for number in range(len(frames) + 1)}


def _says_why(body: bytes) -> bool:
    """Whether it is an error as some dialect words it."""
    try:
        told = json.loads(body)
    except ValueError:
        return False
    error = (told.get("error") or told.get("statusMessage")) if isinstance(told, dict) else None
    return bool(error.get("message") if isinstance(error, dict) else error)
