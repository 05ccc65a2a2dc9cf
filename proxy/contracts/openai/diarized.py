"""Who said what: OpenAI's segments with speakers, and contract 4's lines of JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from backends.types import Segment

UNKNOWN = "unknown"


def speaker_of(segment: Segment) -> str:
    """Who speaks; a word for it where nobody can tell, or nobody asked."""
    return segment.speaker or UNKNOWN


def segment_id(segment: Segment) -> str:
    """What events and segments call it.

    >>> from unittest.mock import Mock
    >>> segment_id(Mock(id=7))
    'seg_007'
    """
    return f"seg_{segment.id:03}"


def diarized_segment(segment: Segment) -> dict[str, object]:
    """A segment of `diarized_json`; the same object is the event of a stream."""
    return {
        "type": "transcript.text.segment",
        "id": segment_id(segment),
        "start": segment.start,
        "end": segment.end,
        "speaker": speaker_of(segment),
        "text": segment.text.strip(),
    }


def jsonl(segments: Iterable[Segment]) -> bytes:
    """`{"speaker", "text"}`, a line for each segment that says something."""
    lines = ({"speaker": speaker_of(segment), "text": segment.text.strip()} for segment in segments)
    return b"".join(orjson.dumps(line) + b"\n" for line in lines if line["text"])
