from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from backends.errors import Broken
from backends.types import Event, Segment, Speech, Word
from proxy.contracts.openai.languages import NAMES
from proxy.contracts.openai.subtitles import clock, srt, vtt
from proxy.contracts.openai.transcripts import Style, Transcript, collect, render, verbose

TIMES = st.floats(0, 400_000, allow_nan=False)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.sampled_from("\n\r->&<;")) | st.just(
    " a --> b"
)


def segment(text: str, start: float = 0.0, end: float = 1.0, words: tuple[Word, ...] = ()) -> Segment:
    return Segment(
        id=0, seek=0, start=start, end=end, text=text, tokens=(1, 2), temperature=0.0, avg_logprob=-0.25,
        compression_ratio=1.5, no_speech_prob=0.125, words=words,
    )  # fmt: skip


def seconds(stamp: str) -> float:
    hours, minutes, rest = stamp.replace(",", ".").split(":")
    assert int(minutes) < 60
    assert float(rest) < 60
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def cues(text: str) -> list[tuple[float, float, str]]:
    """Read blocks between empty lines, as players do."""
    found = []
    for block in re.split(r"\n{2,}", text.strip("\n")):
        lines = block.split("\n")
        times = next(number for number, line in enumerate(lines) if "-->" in line)
        start, _, end = lines[times].partition(" --> ")
        found.append((seconds(start), seconds(end), "\n".join(lines[times + 1 :])))
    return found


def said(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


@given(st.lists(st.builds(segment, TEXTS, TIMES, TIMES), max_size=6).map(tuple))
def test_srt_reads_back(segments: tuple[Segment, ...]) -> None:
    spoken = [item for item in segments if said(item.text)]
    written = srt(segments)
    assert len(re.findall(r"^\d+\n\d+:", written, re.MULTILINE)) == len(spoken)
    if not spoken:
        assert written == ""
        return
    for (start, end, text), item in zip(cues(written), spoken, strict=True):
        assert (start, end) == pytest.approx((item.start, item.end), abs=0.000501)
        assert text == said(item.text).replace("-->", "->")


@given(st.lists(st.builds(segment, TEXTS, TIMES, TIMES), max_size=6).map(tuple))
def test_vtt_reads_back(segments: tuple[Segment, ...]) -> None:
    spoken = [item for item in segments if said(item.text)]
    header, _, body = vtt(segments).partition("\n\n")
    assert header.strip() == "WEBVTT"
    found = cues(body) if body.strip() else []
    for (start, end, text), item in zip(found, spoken, strict=True):
        assert (start, end) == pytest.approx((item.start, item.end), abs=0.000501)
        assert "-->" not in text
        assert "<" not in text
        assert unescape_cue(text) == said(item.text)


def unescape_cue(text: str) -> str:
    return re.sub("&(amp|lt|gt);", lambda entity: unescape(entity[0]), text)


def test_srt_as_players_know_it() -> None:
    segments = (segment(" Hello.", 0, 1.5), segment("  ", 1.5, 2), segment(" Bye\n\n now.", 3599.9996, 7325.0004))
    assert srt(segments) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello.\n\n2\n01:00:00,000 --> 02:02:05,000\nBye\nnow.\n"
    )


def test_vtt_as_the_standard_has_it() -> None:
    assert vtt(()) == "WEBVTT\n"
    assert vtt((segment(" a < b --> c & d", 59.9996, 60.5), segment(" e", 61, 62))) == (
        "WEBVTT\n\n00:01:00.000 --> 00:01:00.500\na &lt; b --&gt; c &amp; d\n\n00:01:01.000 --> 00:01:02.000\ne\n"
    )


@given(TIMES)
def test_clock_is_within_half_a_millisecond(time: float) -> None:
    assert seconds(clock(time, ",")) == pytest.approx(time, abs=0.000501)


def test_verbose_tells_the_times_that_were_asked_for() -> None:
    word = Word("Hello", 0.1, 0.4, 0.9)
    transcript = Transcript(Speech("en", 2.25, 0.75), (segment(" Hello.", words=(word,)), segment(" Bye.")))
    default = verbose(transcript, "transcribe", frozenset())
    assert default["task"] == "transcribe"
    assert default["language"] == "english"
    assert default["duration"] == 2.25
    assert default["text"] == "Hello. Bye."
    assert default["usage"] == {"type": "duration", "seconds": 3}
    assert "words" not in default
    assert default["segments"] == [
        {
            "id": 0, "seek": 0, "start": 0.0, "end": 1.0, "text": text, "tokens": (1, 2), "temperature": 0.0,
            "avg_logprob": -0.25, "compression_ratio": 1.5, "no_speech_prob": 0.125,
        }
        for text in (" Hello.", " Bye.")
    ]  # fmt: skip
    words = verbose(transcript, "transcribe", frozenset({"word"}))
    assert words["words"] == [{"word": "Hello", "start": 0.1, "end": 0.4}]
    assert "segments" not in words
    assert {"words", "segments"} <= verbose(transcript, "transcribe", frozenset({"word", "segment"})).keys()


def test_a_translation_is_in_english() -> None:
    assert verbose(Transcript(Speech("de", 1.0), ()), "translate", frozenset())["language"] == "english"
    assert verbose(Transcript(Speech("de", 1.0), ()), "transcribe", frozenset())["language"] == "german"


def test_json_and_text() -> None:
    transcript = Transcript(Speech("en", 1.0), (segment(" Grüße,"), segment(" Emma.")))
    body, kind = render(transcript, Style(), "transcribe")
    assert kind == "application/json"
    assert orjson.loads(body) == {"text": "Grüße, Emma.", "usage": {"type": "duration", "seconds": 1}}
    assert render(transcript, Style(format="text"), "transcribe") == ("Grüße, Emma.\n".encode(), "text/plain")


async def test_collect_wants_to_know_of_the_audio() -> None:
    async def events(*given: Event) -> AsyncIterator[Event]:
        for event in given:
            yield event

    speech = Speech("en", 1.0)
    assert await collect(events(speech, segment(" a"))) == Transcript(speech, (segment(" a"),))
    with pytest.raises(Broken):
        await collect(events())


def test_every_language_of_whisper_has_its_name() -> None:
    assert NAMES == LANGUAGES
