"""What follows transcription: the flow of events around alignment and speakers, with both done by hand here."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from backends.base import EngineSpec
from backends.errors import Invalid, Unsupported
from backends.inprocess.audio import Samples
from backends.types import Diarize, Event, Segment, Speech, Transcribe, Word
from backends.whisper.after import After, asked
from backends.whisper.align import Aligner
from backends.whisper.diarize import Diarizer
from backends.whisper.diarize_names import Turn

SPEC = EngineSpec(
    name="speech", kind="whisper", align_models={"en": "/models/english"}, diarization_model="/models/speakers"
)
SILENCE = np.zeros(16_000, np.float32)
PLAIN = Transcribe(audio=b"", language="en")


def segment(number: int, *words: Word) -> Segment:
    return Segment(
        id=number,
        seek=0,
        start=float(number),
        end=number + 1.0,
        text="".join(f" {word.text}" for word in words) or " hello",
        tokens=(),
        temperature=0.0,
        avg_logprob=-0.1,
        compression_ratio=1.0,
        no_speech_prob=0.0,
        words=words,
    )


async def played(*events: Event) -> AsyncIterator[Event]:
    for event in events:
        await asyncio.sleep(0)
        yield event


@dataclass
class Hands:
    """Alignment and diarization as a test says. go: set when diarization may answer; left: set when it was told to stop."""

    turns: Sequence[Turn] | Exception = ()
    go: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    languages: list[str] = field(default_factory=list)

    def align(self, samples: Samples, segments: Sequence[Segment], language: str) -> list[Segment]:
        self.languages.append(language)
        return [replace(each, words=(Word("aligned", each.start, each.end, 0.5),)) for each in segments]

    def speakers(self, samples: Samples, options: Diarize, stopped: Callable[[], bool]) -> Sequence[Turn]:
        while not self.go.wait(0.005):
            if stopped():
                self.left.set()
                return []
        if isinstance(self.turns, Exception):
            raise self.turns
        return self.turns


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    hands = Hands()
    monkeypatch.setattr(Aligner, "align", hands.align)
    monkeypatch.setattr(Diarizer, "speakers", hands.speakers)
    for package in ("whisperx", "pyannote", "pyannote.audio"):
        monkeypatch.setitem(sys.modules, package, sys)
    return hands


@pytest.fixture
async def after() -> AsyncIterator[After]:
    after = After(SPEC)
    yield after
    await after.close()


async def test_events_pass_when_nothing_is_asked(after: After) -> None:
    events: list[Event] = [Speech("en", 2.0), segment(0), segment(1)]
    assert [event async for event in after.finish(played(*events), SILENCE, PLAIN)] == events


async def test_words_are_aligned_segment_by_segment_while_whisper_goes_on(after: After, hands: Hands) -> None:
    more = asyncio.Event()

    async def slow() -> AsyncIterator[Event]:
        yield Speech("en", 2.0)
        yield segment(0)
        await more.wait()
        yield segment(1)

    stream = after.finish(slow(), SILENCE, replace(PLAIN, align=True))
    assert isinstance(await anext(stream), Speech)
    first = await anext(stream)
    assert isinstance(first, Segment)
    assert [word.text for word in first.words] == ["aligned"]
    more.set()
    assert len([event async for event in stream]) == 1


async def test_the_detected_language_chooses_the_model(after: After, hands: Hands) -> None:
    request = Transcribe(audio=b"", align=True)
    assert len([e async for e in after.finish(played(Speech("en", 1.0), segment(0)), SILENCE, request)]) == 2
    assert hands.languages == ["en"]
    with pytest.raises(Unsupported, match="WHISPERX_ALIGN_MODEL_DE"):
        [e async for e in after.finish(played(Speech("de", 1.0), segment(0)), SILENCE, request)]


async def test_segments_wait_for_the_speakers_and_are_cut_and_numbered(after: After, hands: Hands) -> None:
    hands.turns = [Turn(0, 0.5, "A"), Turn(0.5, 2, "B")]
    hands.go.set()
    spoken = segment(0, Word("hello", 0.1, 0.4, 1.0), Word("you", 0.6, 0.9, 1.0))
    events = played(Speech("en", 2.0), spoken, segment(1))
    found = [e async for e in after.finish(events, SILENCE, replace(PLAIN, diarize=Diarize()))]
    parts = [event for event in found if isinstance(event, Segment)]
    assert [(part.id, part.speaker, part.text) for part in parts] == [
        (0, "A", " hello"),
        (1, "B", " you"),
        (2, "B", " hello"),
    ]
    assert all(part.words == () for part in parts), "nobody asked for words"


async def test_words_asked_for_stay_with_their_speaker(after: After, hands: Hands) -> None:
    hands.turns = [Turn(0, 0.5, "A"), Turn(0.5, 2, "B")]
    hands.go.set()
    spoken = segment(0, Word("hello", 0.1, 0.4, 1.0), Word("you", 0.6, 0.9, 1.0))
    request = replace(PLAIN, diarize=Diarize(), words=True)
    found = [e async for e in after.finish(played(spoken), SILENCE, request)]
    assert [[word.text for word in part.words] for part in found if isinstance(part, Segment)] == [["hello"], ["you"]]


async def test_a_fault_of_diarization_is_told_even_without_segments(after: After, hands: Hands) -> None:
    hands.turns = Invalid("Nobody speaks.", param="known_speaker_references")
    hands.go.set()
    with pytest.raises(Invalid, match="Nobody speaks"):
        [e async for e in after.finish(played(Speech("en", 2.0)), SILENCE, replace(PLAIN, diarize=Diarize()))]


async def test_whoever_leaves_stops_diarization(after: After, hands: Hands) -> None:
    stream = after.finish(played(Speech("en", 2.0), segment(0)), SILENCE, replace(PLAIN, diarize=Diarize()))
    await anext(stream)
    await stream.aclose()
    assert await asyncio.to_thread(hands.left.wait, 10)


@pytest.mark.parametrize(
    ("request_", "param", "named"),
    [
        (replace(PLAIN, align=True), "align", "whisperx"),
        (replace(PLAIN, diarize=Diarize()), "diarize", "pyannote-audio"),
        (replace(PLAIN, align=True, task="translate"), "align", "translation"),
    ],
)
def test_what_cannot_be_done_here_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, request_: Transcribe, param: str, named: str
) -> None:
    monkeypatch.setitem(sys.modules, "whisperx", None)
    monkeypatch.setitem(sys.modules, "pyannote", None)
    with pytest.raises(Unsupported, match=named) as refusal:
        After(SPEC).check(request_)
    assert refusal.value.param == param


def test_what_was_not_asked_for_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "whisperx", None)
    monkeypatch.setitem(sys.modules, "pyannote", None)
    After(SPEC).check(PLAIN)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (PLAIN, False),
        (replace(PLAIN, words=True), True),
        (replace(PLAIN, words=True, align=True), False),
        (replace(PLAIN, diarize=Diarize()), True),
        (replace(PLAIN, diarize=Diarize(), align=True), False),
    ],
)
def test_whisper_times_words_only_where_nobody_else_does(request_: Transcribe, words: bool) -> None:
    assert asked(request_) == replace(request_, words=words)
