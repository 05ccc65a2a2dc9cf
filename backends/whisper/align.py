"""Word times by forced alignment: the text is known, only its place in the sound is sought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

from backends.base import EngineSpec, ModelSpec
from backends.errors import Broken, Unavailable, Unsupported
from backends.inprocess.audio import SAMPLE_RATE, Samples
from backends.inprocess.hub import Hub, read_config
from backends.types import Segment, Word
from backends.whisper.model import device_for
from backends.whisper.timeline import Timeline

# Written without spaces: each character is timed for itself, as whisperX does.
UNSPACED = frozenset({"ja", "zh", "yue"})
# How the vocabularies of wav2vec2 spell a space.
SPACE = "|"


@dataclass(frozen=True, slots=True)
class Span:
    """Where a character is spoken, in seconds from the start of the stretch it was sought in; score in 0..1."""

    start: float
    end: float
    score: float


class Characters(Protocol):
    """A model that finds characters in sound."""

    def find(self, samples: Samples, text: str) -> list[Span] | None:
        """One span for each character of text, in order; None where they do not fit into the sound. Blocks."""


class Aligner:
    """Gives segments the times of their words. Models are loaded when their language first comes up, and stay."""

    def __init__(self, spec: EngineSpec, hub: Hub | None = None) -> None:
        self._spec = spec
        self._hub = hub or Hub()
        self._models: dict[str, Characters] = {}

    def check(self, language: str | None) -> None:
        """Refuse what cannot be done for a language (None: not known yet). Raises Unsupported naming what is missing."""
        if find_spec("whisperx") is None:
            raise Unsupported(
                "align needs the package whisperx, which is not installed here; install requirements/cuda.lock.",
                param="align",
            )
        models = self._spec.align_models
        if language not in models if language else not models:
            setting = f"WHISPERX_ALIGN_MODEL_{language.upper() if language else '<LANGUAGE>'}"
            raise Unsupported(
                f"align needs a model for {language or 'the language of the speech'}: set {setting} to the directory or "
                "hub id of a wav2vec2 model.",
                param="align",
            )

    def align(self, samples: Samples, segments: Sequence[Segment], language: str) -> list[Segment]:
        """The segments with words, each segment as long as its words. samples: of the whole file, mono at 16 kHz.

        Blocks; one call at a time. Words of a segment that cannot be aligned share its time by their length, with
        probability 0. Raises Unsupported without a model for the language, Unavailable when it cannot be loaded, Broken
        when the device gives up.
        """
        self.check(language)
        try:
            model = self._models.get(language) or self._load(language)
            return [timed(segment, samples, language, model) for segment in segments]
        except RuntimeError as error:
            raise Broken("The alignment model failed; its log says why.") from error

    def _load(self, language: str) -> Characters:
        source = self._spec.align_models[language]
        setting = f"WHISPERX_ALIGN_MODEL_{language.upper()}"
        directory = self._hub.locate(ModelSpec(source=source, name=setting), lambda _: None)
        kind = read_config(directory / "config.json").get("model_type")
        if kind != "wav2vec2":
            raise Unavailable(f"{setting} names a model of type {kind}; words are timed by wav2vec2.")
        try:
            ctc = import_module("backends.whisper.align_ctc")
        except (ImportError, OSError) as error:
            raise Unavailable("whisperX is installed, but cannot be loaded; the log says why.") from error
        self._models[language] = cast("Characters", ctc.Ctc(directory, language, device_for(self._spec), setting))
        return self._models[language]


def timed(segment: Segment, samples: Samples, language: str, model: Characters) -> Segment:
    """The segment with the times of its words, found by the model within the segment's own time."""
    words = split(segment.text, language)
    if not words:
        return replace(segment, words=())
    first, last = (round(at * SAMPLE_RATE) for at in (segment.start, segment.end))
    gap = "" if language in UNSPACED else SPACE
    spans = model.find(samples[first:last], gap.join(word.lower() for word in words))
    line = Timeline(segment.start, segment.end)
    found = spread(words, segment) if spans is None else gathered(words, spans, segment.start, len(gap))
    placed = tuple(
        replace(word, start=start, end=end) for word in found for start, end in [line.place(word.start, word.end)]
    )
    return replace(segment, start=placed[0].start, end=placed[-1].end, words=placed)


def split(text: str, language: str) -> list[str]:
    """The words of a text: what spaces part, or each character in languages written without."""
    return [char for char in text if not char.isspace()] if language in UNSPACED else text.split()


def gathered(words: Sequence[str], spans: Sequence[Span], origin: float, gap: int) -> list[Word]:
    """Words from the spans of their characters, `gap` spans apart; origin: where the spans' zero is in the file."""
    found = []
    at = 0
    for word in words:
        own = spans[at : at + len(word.lower())]
        at += len(own) + gap
        score = sum(span.score for span in own) / len(own)
        found.append(Word(word, origin + own[0].start, origin + own[-1].end, round(score, 3)))
    return found


def spread(words: Sequence[str], segment: Segment) -> list[Word]:
    """Words that share the segment's time by their length; probability 0 says that nobody heard them there."""
    rate = (segment.end - segment.start) / sum(map(len, words))
    found = []
    at = segment.start
    for word in words:
        found.append(Word(word, at, at + len(word) * rate, 0.0))
        at = found[-1].end
    return found
