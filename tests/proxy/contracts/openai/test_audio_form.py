"""Every field of the audio forms: what it asks a backend for, and what is refused."""

from __future__ import annotations

import base64
import inspect
from dataclasses import replace

import pytest
from openai.resources.audio import Transcriptions

from backends.types import Diarize, Transcribe, Vad
from proxy.contracts.openai.audio_fields import named_in, wants_stream
from proxy.contracts.openai.audio_form import Question, read_question
from proxy.contracts.openai.transcripts import Style, Task
from proxy.errors import ApiError, ErrorCode
from proxy.http.multipart import Part

VOICE = "data:audio/wav;base64," + base64.b64encode(b"RIFFvoice").decode()
KNOWN = [("known_speaker_names[]", "Emma"), ("known_speaker_references[]", VOICE)]
DIARIZED = ("response_format", "diarized_json")
SRT = ("response_format", "srt")


def parts(*fields: tuple[str, str]) -> list[Part]:
    return [Part("file", b"RIFF"), *(Part(name, value.encode()) for name, value in fields)]


def ask(*fields: tuple[str, str], task: Task = "transcribe") -> Question:
    return read_question(parts(*fields), task, Transcribe(audio=b""))


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ([], {}),
        ([("language", "de")], {"language": "de"}),
        ([("languages[]", "de"), ("languages[]", "en")], {"languages": ("de", "en")}),
        ([("languages", "de")], {"languages": ("de",)}),
        ([("prompt", "Grüße")], {"prompt": "Grüße"}),
        ([("keywords[]", "Emma"), ("keywords[]", "a b")], {"hotwords": ("Emma", "a b")}),
        ([("hotwords", "x"), ("keywords", "y"), ("hotwords[]", "z")], {"hotwords": ("y", "x", "z")}),
        ([("temperature", "0")], {}),
        ([("temperature", "0.4")], {"temperatures": (0.4,)}),
        ([("temperature[]", "0"), ("temperature[]", "0.5")], {"temperatures": (0.0, 0.5)}),
        ([("temperature[]", "0")], {"temperatures": (0.0,)}),
        ([("beam_size", "3"), ("best_of", "4")], {"beam_size": 3, "best_of": 4}),
        ([("patience", "1.5"), ("length_penalty", "-0.5")], {"patience": 1.5, "length_penalty": -0.5}),
        ([("compression_ratio_threshold", "2")], {"compression_ratio_threshold": 2.0}),
        ([("logprob_threshold", "-2")], {"logprob_threshold": -2.0}),
        ([("no_speech_threshold", "0.25")], {"no_speech_threshold": 0.25}),
        ([("condition_on_previous_text", "False")], {"condition_on_previous_text": False}),
        ([("condition_on_previous_text", "true")], {"condition_on_previous_text": True}),
        ([("include[]", "logprobs")], {"logprobs": True}),
        ([("align", "true"), SRT], {"align": True}),
        ([("align", "false")], {}),
        ([("chunking_strategy", "auto")], {"vad": Vad()}),
        ([("chunking_strategy", "null")], {}),
        ([("chunking_strategy", "")], {}),
        ([("chunking_strategy[type]", "server_vad")], {"vad": Vad()}),
        (
            [
                ("chunking_strategy[type]", "server_vad"),
                ("chunking_strategy[threshold]", "0.3"),
                ("chunking_strategy[prefix_padding_ms]", "200"),
                ("chunking_strategy[silence_duration_ms]", "0"),
            ],
            {"vad": Vad(threshold=0.3, prefix_padding_ms=200, silence_duration_ms=0)},
        ),
        (
            [("chunking_strategy", ' {"type": "server_vad", "threshold": 1, "silence_duration_ms": 9}')],
            {"vad": Vad(threshold=1.0, silence_duration_ms=9)},
        ),
        ([("diarize", "true"), SRT], {"diarize": Diarize()}),
        ([("diarize", "false"), SRT], {}),
        ([DIARIZED], {"diarize": Diarize()}),
        ([("num_speakers", "2"), ("response_format", "jsonl")], {"diarize": Diarize(num_speakers=2)}),
        ([("response_format", "jsonl")], {}),
        (
            [("min_speakers", "1"), ("max_speakers", "3"), DIARIZED],
            {"diarize": Diarize(min_speakers=1, max_speakers=3)},
        ),
        ([*KNOWN, DIARIZED], {"diarize": Diarize(known=(("Emma", b"RIFFvoice"),))}),
        (
            [*KNOWN, ("num_speakers", "2"), SRT],
            {"diarize": Diarize(num_speakers=2, known=(("Emma", b"RIFFvoice"),))},
        ),
    ],
)
def test_what_a_field_asks_for(fields: list[tuple[str, str]], changes: dict[str, object]) -> None:
    assert ask(*fields).request == replace(Transcribe(audio=b"RIFF"), **changes)  # type: ignore[arg-type]


def test_how_the_answer_is_written() -> None:
    assert ask() == Question(Transcribe(audio=b"RIFF"), Style(), stream=False)
    assert ask(("include", "logprobs"), ("languages[]", "de")).style == Style(logprobs=True, languages=True)
    timed = ask(("response_format", "verbose_json"), ("timestamp_granularities[]", "word"))
    assert timed.style == Style(format="verbose_json", granularities=frozenset({"word"}))
    assert timed.request.words
    assert ask(("stream", "true")).stream
    assert ask(("stream", "True"), ("response_format", "text")).stream
    assert not ask(("stream", "false"), SRT).stream


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([("beam_size", "0")], "beam_size"),
        ([("beam_size", "33")], "beam_size"),
        ([("beam_size", "2.5")], "beam_size"),
        ([("beam_size", "²")], "beam_size"),
        ([("best_of", "-1")], "best_of"),
        ([("patience", "0")], "patience"),
        ([("patience", "inf")], "patience"),
        ([("length_penalty", "nan")], "length_penalty"),
        ([("length_penalty", "long")], "length_penalty"),
        ([("compression_ratio_threshold", "-1")], "compression_ratio_threshold"),
        ([("logprob_threshold", "x")], "logprob_threshold"),
        ([("no_speech_threshold", "1.01")], "no_speech_threshold"),
        ([("condition_on_previous_text", "1")], "condition_on_previous_text"),
        ([("align", "yes")], "align"),
        ([("align", "true")], "align"),
        ([("align", "true"), ("response_format", "text")], "align"),
        ([("align", ""), ("align", "true")], "align"),
        ([("diarize", "true")], "diarize"),
        ([("diarize", "maybe"), SRT], "diarize"),
        ([("diarize", "false"), DIARIZED], "diarize"),
        ([("diarize", "false"), *KNOWN, SRT], "diarize"),
        ([("diarize", "false"), ("num_speakers", "2"), SRT], "num_speakers"),
        ([("num_speakers", "2")], "diarize"),
        ([("num_speakers", "0"), SRT], "num_speakers"),
        ([("num_speakers", "2"), ("max_speakers", "3"), SRT], "num_speakers"),
        ([("min_speakers", "3"), ("max_speakers", "2"), SRT], "min_speakers"),
        ([("max_speakers", "101"), SRT], "max_speakers"),
        ([("temperature", "0.1"), ("temperature[]", "0.2")], "temperature"),
        ([("temperature[]", "2")], "temperature"),
        ([("language", "de"), ("languages[]", "en")], "languages"),
        ([("include[]", "logprobs"), SRT], "include"),
        ([("include[]", "logprobs"), DIARIZED], "include"),
        ([("include[]", "text")], "include"),
        ([("stream", "true"), ("response_format", "verbose_json")], "stream"),
        ([("stream", "true"), ("response_format", "jsonl")], "stream"),
        ([("chunking_strategy", "manual")], "chunking_strategy"),
        ([("chunking_strategy", "{")], "chunking_strategy"),
        ([("chunking_strategy", '{"threshold": 0.5}')], "chunking_strategy[type]"),
        ([("chunking_strategy", '{"type": "client_vad"}')], "chunking_strategy[type]"),
        ([("chunking_strategy", '{"type": "server_vad", "create_response": true}')], "chunking_strategy"),
        ([("chunking_strategy", '{"type": "server_vad", "threshold": [1]}')], "chunking_strategy[threshold]"),
        ([("chunking_strategy[threshold]", "0.5")], "chunking_strategy[type]"),
        (
            [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[threshold]", "2")],
            "chunking_strategy[threshold]",
        ),
        (
            [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[prefix_padding_ms]", "1.5")],
            "chunking_strategy[prefix_padding_ms]",
        ),
        ([("chunking_strategy[eagerness]", "low")], "chunking_strategy[eagerness]"),
        ([("chunking_strategy", "auto"), ("chunking_strategy[type]", "server_vad")], "chunking_strategy"),
        ([*KNOWN], "diarize"),
        ([KNOWN[0], DIARIZED], "known_speaker_names"),
        ([KNOWN[1], DIARIZED], "known_speaker_references"),
        ([*KNOWN, *KNOWN, DIARIZED], "known_speaker_names"),
        ([*((name, str(n) if "names" in name else v) for n in range(5) for name, v in KNOWN), DIARIZED],
         "known_speaker_names"),
        ([("known_speaker_names[]", "E\nmma"), KNOWN[1], DIARIZED], "known_speaker_names"),
        ([("known_speaker_names[]", "E" * 65), KNOWN[1], DIARIZED], "known_speaker_names"),
        *(
            ([KNOWN[0], ("known_speaker_references[]", reference), DIARIZED], "known_speaker_references")
            for reference in (
                "https://example.com/a.wav",
                "/etc/passwd",
                "file:///etc/passwd",
                "UklGRg==",
                "data:audio/wav,RIFF",
                "data:audio/wav;base64,",
                "data:audio/wav;base64,U",
                "data:audio/wav;base64,*UklGRg==",
            )
        ),
    ],
)  # fmt: skip
def test_what_is_refused(fields: list[tuple[str, str]], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        ask(*fields)
    assert (caught.value.code, caught.value.param) == (ErrorCode.INVALID, param)
    assert f"`{param.partition('[')[0]}" in caught.value.message


def test_a_sample_of_a_voice_may_be_longer_than_text() -> None:
    sample = "data:audio/wav;base64," + base64.b64encode(b"x" * 1_000_000).decode()
    known = ask(KNOWN[0], ("known_speaker_references[]", sample), DIARIZED).request.diarize
    assert known == Diarize(known=(("Emma", b"x" * 1_000_000),))
    with pytest.raises(ApiError, match="bytes are more than"):
        ask(KNOWN[0], ("known_speaker_references[]", "data:;base64," + "A" * 8_400_000), DIARIZED)


def test_every_parameter_of_the_sdk_is_known() -> None:
    ours = inspect.signature(Transcriptions.create).parameters.keys()
    theirs = ours - {"self", "extra_headers", "extra_query", "extra_body", "timeout", "file"}
    assert len(theirs) >= 13
    for name in theirs:
        try:
            ask((name, "x"))
        except ApiError as error:
            assert "Unknown parameter" not in error.message, name


def test_translations_take_decoding_options_and_formats() -> None:
    asked = ask(("beam_size", "2"), ("keywords[]", "Emma"), ("temperature[]", "0"), ("response_format", "jsonl"),
                ("num_speakers", "2"), task="translate")  # fmt: skip
    assert asked.request == Transcribe(
        audio=b"RIFF", task="translate", beam_size=2, hotwords=("Emma",), temperatures=(0.0,),
        diarize=Diarize(num_speakers=2),
    )  # fmt: skip
    for name in ("language", "languages[]", "stream", "include[]", "chunking_strategy", "known_speaker_names[]"):
        with pytest.raises(ApiError, match="Unknown parameter"):
            ask((name, "x"), task="translate")


def test_what_a_relay_reads() -> None:
    assert named_in(parts(), "model") is None
    assert named_in(parts(("model", "")), "model") is None
    assert named_in(parts(("model", "w")), "model") == "w"
    assert not wants_stream(parts(("stream", "false")))
    assert not wants_stream(parts())
    assert all(wants_stream(parts(("stream", yes))) for yes in ("True", "true", "1", "yes"))
