"""The calls of CTranslate2: windows of many requests encoded, decoded and aligned together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, cast

import ctranslate2
import numpy as np
import numpy.typing as npt

from backends.whisper.model import Whisper

Features: TypeAlias = npt.NDArray[np.float32]
Task: TypeAlias = Literal["transcribe", "translate"]

# Tokens before and in a transcript; the decoder gives half of them at most to the transcript.
MAX_LENGTH = 448
# The first time is within the window's first second.
MAX_INITIAL_STAMP = 50
# Windows that a CPU encodes in one call: their attention, 9 MB a head of 30 s, should not fall out of its cache.
ENCODED_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """What windows decoded in one call must agree in.

    frames: of the features; previous: how many tokens stand before the transcript; again: the features are what the encoder
    made of them in an earlier call.
    """

    frames: int
    previous: int
    temperature: float
    beam_size: int
    best_of: int
    patience: float
    length_penalty: float
    again: bool = False


@dataclass(frozen=True, slots=True)
class Align:
    """What transcripts aligned in one call must agree in. start: the tokens that they begin with."""

    frames: int
    start: tuple[int, ...]


class Encoded:
    """What the encoder made of a window: one row of a batch, left where the model computed it until it is asked for."""

    def __init__(self, batch: ctranslate2.StorageView, row: int) -> None:
        self._batch = batch
        self._row = row

    def features(self) -> Features:
        """[positions, width], in the machine's own memory."""
        here = self._batch if self._batch.device == "cpu" else self._batch.to_device(ctranslate2.Device.cpu)
        if here.dtype == ctranslate2.DataType.bfloat16:  # NumPy knows none
            here = here.to(ctranslate2.DataType.float32)
        return cast("Features", np.asarray(here)[self._row])


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Up to 30 s to decode. features: log-mel [bands, frames] or the encoder's; previous: tokens before the transcript.

    language: None = the likeliest of `languages`, or of all.
    """

    features: Features | Encoded
    previous: tuple[int, ...]
    task: Task
    language: str | None
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What was decoded. avg_logprob: of its tokens and the end; language_probability: None where it was not asked for."""

    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float
    language: str
    language_probability: float | None
    encoded: Encoded


@dataclass(frozen=True, slots=True, eq=False)
class Transcript:
    """Text tokens to find in the sound of a window that has `frames` frames without its padding."""

    encoded: Encoded
    tokens: tuple[int, ...]
    frames: int


@dataclass(frozen=True, slots=True)
class Aligned:
    """Where tokens are heard. pairs: (token number, encoder position) along the path; probabilities: of each token."""

    pairs: tuple[tuple[int, int], ...]
    probabilities: tuple[float, ...]


Key: TypeAlias = Decode | Align
Job: TypeAlias = Window | Transcript
Result: TypeAlias = Heard | Aligned


class _Generation(Protocol):
    """CTranslate2's WhisperGenerationResult: hypotheses, best first."""

    sequences_ids: list[list[int]]
    scores: list[float]
    no_speech_prob: float


class _Alignment(Protocol):
    """CTranslate2's WhisperAlignmentResult."""

    alignments: list[tuple[int, int]]
    text_token_probs: list[float]


class Decoder:
    """A model's compute function for a Batcher. Blocks. Raises what CTranslate2 raises."""

    def __init__(self, whisper: Whisper) -> None:
        self._whisper = whisper

    def __call__(self, key: Key, jobs: Sequence[Job]) -> Sequence[Result]:
        """The result of each job; jobs are windows for a Decode and transcripts for an Align."""
        if isinstance(key, Decode):
            return self._decode(key, cast("Sequence[Window]", jobs))
        return self._align(key, cast("Sequence[Transcript]", jobs))

    def _decode(self, key: Decode, windows: Sequence[Window]) -> list[Heard]:
        features = [window.features for window in windows]
        encoded = _stacked(features) if key.again else self._encode(features)
        languages = self._languages(encoded, windows)
        prompts = [
            [*window.previous, *self._whisper.tokenizer(language, window.task).sot_sequence]
            for window, (language, _) in zip(windows, languages, strict=True)
        ]
        generations: list[_Generation] = self._whisper.model.generate(
            encoded,
            prompts,
            length_penalty=key.length_penalty,
            max_length=MAX_LENGTH,
            return_scores=True,
            return_no_speech_prob=True,
            max_initial_timestamp_index=MAX_INITIAL_STAMP,
            suppress_tokens=list(self._whisper.suppressed),
            **_search(key),
        )
        return [
            Heard(
                tuple(generation.sequences_ids[0]),
                _avg_logprob(generation, key.length_penalty),
                float(generation.no_speech_prob),
                language,
                probability,
                Encoded(encoded, row),
            )
            for row, (generation, (language, probability)) in enumerate(zip(generations, languages, strict=True))
        ]

    def _encode(self, features: Sequence[Features | Encoded]) -> ctranslate2.StorageView:
        """The encoder's output for all of them, computed a few at a time where that is as fast and takes less memory."""
        model = self._whisper.model
        if model.device != "cpu" or len(features) <= ENCODED_AT_ONCE:
            return model.encode(_stacked(features))
        parts = [
            np.asarray(model.encode(_stacked(features[first : first + ENCODED_AT_ONCE])))
            for first in range(0, len(features), ENCODED_AT_ONCE)
        ]
        return ctranslate2.StorageView.from_array(np.concatenate(parts))

    def _languages(self, encoded: ctranslate2.StorageView, windows: Sequence[Window]) -> list[tuple[str, float | None]]:
        """Each window's language, and how likely it is where it had to be found out."""
        if all(window.language is not None for window in windows):
            return [(window.language or "", None) for window in windows]
        found: list[list[tuple[str, float]]] = self._whisper.model.detect_language(encoded)
        return [_likeliest(window, ranked) for window, ranked in zip(windows, found, strict=True)]

    def _align(self, key: Align, transcripts: Sequence[Transcript]) -> list[Aligned]:
        alignments: list[_Alignment] = self._whisper.model.align(
            _stacked([transcript.encoded for transcript in transcripts]),
            list(key.start),
            [list(transcript.tokens) for transcript in transcripts],
            [transcript.frames for transcript in transcripts],
        )
        return [Aligned(tuple(found.alignments), tuple(found.text_token_probs)) for found in alignments]


def _stacked(rows: Sequence[Features | Encoded]) -> ctranslate2.StorageView:
    arrays = [row.features() if isinstance(row, Encoded) else row for row in rows]
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(np.stack(arrays)))


def _search(key: Decode) -> dict[str, int | float]:
    """Beam search at temperature 0, the likeliest of several samples above it."""
    if key.temperature == 0:
        return {"beam_size": key.beam_size, "patience": key.patience}
    return {
        "beam_size": 1,
        "num_hypotheses": key.best_of,
        "sampling_topk": 0,
        "sampling_temperature": key.temperature,
    }


def _avg_logprob(generation: _Generation, length_penalty: float) -> float:
    """The mean log-probability of the tokens and the end, taken back out of the score that ranks hypotheses."""
    length = len(generation.sequences_ids[0])
    return generation.scores[0] * length**length_penalty / (length + 1) if length else 0.0


def _likeliest(window: Window, ranked: Sequence[tuple[str, float]]) -> tuple[str, float | None]:
    """The window's language: the one given, or the first of those allowed. ranked: ("<|en|>", 0.9), likeliest first."""
    if window.language is not None:
        return window.language, None
    codes = [(token[2:-2], float(probability)) for token, probability in ranked]
    return next(found for found in codes if not window.languages or found[0] in window.languages)
