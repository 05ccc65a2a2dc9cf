"""What was said, written in the formats of OpenAI's audio endpoints. Pure."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass
from typing import Literal

import orjson

from backends.errors import Broken
from backends.types import Event, Segment, Speech, TokenLogprob, Word
from proxy.contracts.openai.diarized import diarized_segment, jsonl
from proxy.contracts.openai.languages import language_name
from proxy.contracts.openai.subtitles import srt, vtt

Format = Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json", "jsonl"]
Granularity = Literal["word", "segment"]
Task = Literal["transcribe", "translate"]


@dataclass(frozen=True, slots=True)
class Transcript:
    """One file's speech, whole."""

    speech: Speech
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """Everything that was said, in one line."""
        return "".join(segment.text for segment in self.segments).strip()


async def collect(events: AsyncIterable[Event]) -> Transcript:
    """The transcript that a backend's events make. Raises Broken when they tell of no audio."""
    speech: Speech | None = None
    segments: list[Segment] = []
    async for event in events:
        match event:
            case Speech():
                speech = event
            case Segment():
                segments.append(event)
    if speech is None:
        raise Broken("The engine ended without a transcript.")
    return Transcript(speech, tuple(segments))


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How to write a transcript. granularities: the times that verbose_json tells, none = segments.

    logprobs and languages: whether json tells them.
    """

    format: Format = "json"
    granularities: frozenset[Granularity] = frozenset()
    logprobs: bool = False
    languages: bool = False


def render(transcript: Transcript, style: Style, task: Task) -> tuple[bytes, str]:
    """The answer's body and its content type."""
    match style.format:
        case "json":
            return orjson.dumps(plain(transcript, style)), "application/json"
        case "verbose_json":
            return orjson.dumps(verbose(transcript, task, style.granularities)), "application/json"
        case "diarized_json":
            return orjson.dumps(diarized(transcript, task)), "application/json"
        case "jsonl":
            return jsonl(transcript.segments), "application/jsonl"
        case "srt":
            text = srt(transcript.segments)
        case "vtt":
            text = vtt(transcript.segments)
        case "text":
            text = f"{transcript.text}\n"
    return text.encode("utf-8", "replace"), "text/plain"


def plain(transcript: Transcript, style: Style) -> dict[str, object]:
    """The object of `json`."""
    body: dict[str, object] = {"text": transcript.text}
    if style.languages:
        body["languages"] = spoken_languages(transcript.speech)
    if style.logprobs:
        body["logprobs"] = [logprob for segment in transcript.segments for logprob in token_logprobs(segment.logprobs)]
    return {**body, "usage": _usage(transcript.speech)}


def diarized(transcript: Transcript, task: Task) -> dict[str, object]:
    """The object of `diarized_json`."""
    return {
        "task": task,
        "duration": transcript.speech.duration,
        "text": transcript.text,
        "segments": [diarized_segment(segment) for segment in transcript.segments],
        "usage": _usage(transcript.speech),
    }


def verbose(transcript: Transcript, task: Task, granularities: frozenset[Granularity]) -> dict[str, object]:
    """The object of `verbose_json`. A translation's language is the one it is in: English."""
    speech = transcript.speech
    body: dict[str, object] = {
        "task": task,
        "language": "english" if task == "translate" else language_name(speech.language),
        "duration": speech.duration,
        "text": transcript.text,
    }
    if not granularities or "segment" in granularities:
        body["segments"] = [_segment(segment) for segment in transcript.segments]
    if "word" in granularities:
        body["words"] = [_word(word) for segment in transcript.segments for word in segment.words]
    return {**body, "usage": _usage(speech)}


def spoken_languages(speech: Speech) -> list[dict[str, str]]:
    """The `languages` of an answer: the one that was detected, or asked for."""
    return [{"code": speech.language}]


def token_logprobs(tokens: Iterable[TokenLogprob]) -> list[dict[str, object]]:
    """The `logprobs` of an answer, or of a piece of it."""
    return [
        {"token": token.token, "logprob": token.logprob, "bytes": list(token.token.encode("utf-8", "surrogatepass"))}
        for token in tokens
    ]


def _usage(speech: Speech) -> dict[str, object]:
    """OpenAI counts begun seconds."""
    return {"type": "duration", "seconds": math.ceil(speech.duration)}


def _segment(segment: Segment) -> dict[str, object]:
    return {
        "id": segment.id,
        "seek": segment.seek,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": segment.tokens,
        "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
        **({"speaker": segment.speaker} if segment.speaker else {}),
    }


def _word(word: Word) -> dict[str, object]:
    return {"word": word.text, "start": word.start, "end": word.end}
