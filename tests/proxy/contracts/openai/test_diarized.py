from __future__ import annotations

import json
from dataclasses import replace

from openai.types.audio import TranscriptionDiarized

from backends.types import Segment, Speech, TokenLogprob
from proxy.contracts.openai.subtitles import srt, vtt
from proxy.contracts.openai.transcripts import Style, Transcript, render, verbose
from tests.proxy.contracts.openai.audio_calls import SEGMENT

EMMA = replace(SEGMENT, speaker="Emma <b>")
NOBODY = replace(SEGMENT, id=1, start=1.5, end=2.0, text=" Grüße. ")
SILENT = replace(SEGMENT, id=2, text="  ")
DIALOGUE: tuple[Segment, ...] = (EMMA, NOBODY, SILENT)
SPOKEN = Transcript(Speech("de", 2.25), DIALOGUE)


def test_diarized_json_is_of_the_sdks_type() -> None:
    body, kind = render(SPOKEN, Style(format="diarized_json"), "transcribe")
    assert kind == "application/json"
    parsed = TranscriptionDiarized.model_validate_json(body, strict=True)
    assert (parsed.task, parsed.duration, parsed.text) == ("transcribe", 2.25, "Hello Emma. Grüße.")
    assert [(s.id, s.speaker, s.start, s.end, s.text) for s in parsed.segments[:2]] == [
        ("seg_000", "Emma <b>", 0.0, 1.5, "Hello Emma."),
        ("seg_001", "unknown", 1.5, 2.0, "Grüße."),
    ]
    assert parsed.usage
    assert parsed.usage.to_dict() == {"type": "duration", "seconds": 3}


def test_jsonl_is_a_line_a_segment() -> None:
    body, kind = render(SPOKEN, Style(format="jsonl"), "transcribe")
    assert kind == "application/jsonl"
    assert body.endswith(b"\n")
    assert [json.loads(line) for line in body.splitlines()] == [
        {"speaker": "Emma <b>", "text": "Hello Emma."},
        {"speaker": "unknown", "text": "Grüße."},
    ]


def test_subtitles_and_segments_name_speakers_that_are_known() -> None:
    assert srt(DIALOGUE) == (
        "1\n00:00:00,000 --> 00:00:01,500\nEmma <b>: Hello Emma.\n\n2\n00:00:01,500 --> 00:00:02,000\nGrüße.\n"
    )
    assert vtt(DIALOGUE) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n<v Emma &lt;b&gt;>Hello Emma.\n\n"
        "00:00:01.500 --> 00:00:02.000\nGrüße.\n"
    )
    segments = verbose(SPOKEN, "transcribe", frozenset())["segments"]
    assert isinstance(segments, list)
    assert [segment.get("speaker") for segment in segments] == ["Emma <b>", None, None]


def test_json_tells_log_probabilities_and_languages_when_asked() -> None:
    heard = replace(SEGMENT, logprobs=(TokenLogprob(" Hé", -0.5), TokenLogprob("llo", None)))
    body, _ = render(Transcript(Speech("de", 1.0), (heard,)), Style(logprobs=True, languages=True), "transcribe")
    assert json.loads(body) == {
        "text": "Hello Emma.",
        "languages": [{"code": "de"}],
        "logprobs": [
            {"token": " Hé", "logprob": -0.5, "bytes": [32, 72, 195, 169]},
            {"token": "llo", "logprob": None, "bytes": [108, 108, 111]},
        ],
        "usage": {"type": "duration", "seconds": 1},
    }
