"""Subtitles of what was said, by whom where that is known: SubRip and WebVTT. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from backends.types import Segment


def srt(segments: tuple[Segment, ...]) -> str:
    """SubRip: numbered cues. Its only syntax is the arrow, so an arrow that was said loses a dash."""
    cues = (
        f"{number}\n{clock(segment.start, ',')} --> {clock(segment.end, ',')}\n{_said_by(segment, text)}\n"
        for number, (segment, text) in enumerate(_cues(segments), 1)
    )
    return "\n".join(cues)


def _said_by(segment: Segment, text: str) -> str:
    told = f"{segment.speaker}: {text}" if segment.speaker else text
    return told.replace("-->", "->")


def vtt(segments: tuple[Segment, ...]) -> str:
    """WebVTT (W3C): its header, then cues whose text is escaped as section 4.2.2 of the standard says."""
    cues = (
        f"{clock(segment.start, '.')} --> {clock(segment.end, '.')}\n{_voice(segment)}{_escaped(text)}\n"
        for segment, text in _cues(segments)
    )
    return "\n".join(("WEBVTT\n", *cues))


def clock(seconds: float, separator: str) -> str:
    """Hours, minutes, seconds and milliseconds; rounded once, so that no field ever reads 60.

    >>> clock(3599.9996, ","), clock(360000.5, ".")
    ('01:00:00,000', '100:00:00.500')
    """
    total, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(total, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}{separator}{milliseconds:03}"


def _cues(segments: tuple[Segment, ...]) -> Iterator[tuple[Segment, str]]:
    """Each segment that says something, with its text free of empty lines: those would end a cue."""
    for segment in segments:
        lines = (line.strip() for line in segment.text.splitlines())
        text = "\n".join(line for line in lines if line)
        if text:
            yield segment, text


def _voice(segment: Segment) -> str:
    """WebVTT's own way to say who speaks: a voice span, which the cue's end closes."""
    return f"<v {_escaped(segment.speaker)}>" if segment.speaker else ""


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
