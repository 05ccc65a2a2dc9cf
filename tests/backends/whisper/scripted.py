"""What stands in for CTranslate2 where a test must know how far decoding came, or hold it up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from faster_whisper import WhisperModel
from faster_whisper.transcribe import Segment, TranscriptionInfo, Word

from backends.whisper.audio import Samples
from backends.whisper.model import Whisper


@dataclass
class ScriptedEngine:
    """Yields `segments` a second each; waits for `go` before the first. Remembers its options and how far it came."""

    segments: int = 3
    go: threading.Event = field(default_factory=threading.Event)
    failure: Exception | None = None
    entered: threading.Event = field(default_factory=threading.Event)
    options: list[dict[str, object]] = field(default_factory=list)
    made: int = 0

    def transcribe(self, samples: Samples, **options: object) -> tuple[Iterator[Segment], TranscriptionInfo]:
        self.options.append(options)
        info = cast("TranscriptionInfo", Info(str(options["language"] or "fr"), 0.75))
        return self.decoded(), info

    def decoded(self) -> Iterator[Segment]:
        self.entered.set()
        assert self.go.wait(5)
        for number in range(self.segments):
            if self.failure is not None:
                raise self.failure
            self.made += 1
            yield Segment(
                id=number + 1,
                seek=0,
                start=number - 0.1,
                end=number + 1.5,
                text=f" {number}",
                tokens=[number],
                avg_logprob=-0.1,
                compression_ratio=1.0,
                no_speech_prob=0.0,
                words=[Word(number - 0.1, number + 1.5, f" {number}", 0.9)],
                temperature=0.0,
            )


@dataclass
class Info:
    language: str
    language_probability: float


def whisper(engine: ScriptedEngine, *, multilingual: bool = True) -> Whisper:
    languages = frozenset({"en", "fr", "yue"} if multilingual else {"en"})
    return Whisper(cast("WhisperModel", engine), languages, multilingual)
