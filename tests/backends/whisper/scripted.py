"""What stands in for CTranslate2 where a test must know what it is asked, say what it answers, or hold it up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ctranslate2
import numpy as np
import tokenizers
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import Tokenizer

import backends
from backends.whisper.model import Whisper

VOCABULARY = tokenizers.Tokenizer.from_file(str(Path(backends.__file__).parent / "nano" / "whisper" / "tokenizer.json"))
TOKENIZER = Tokenizer(VOCABULARY, False)
ANSWER_SECONDS = 30.0


def stamp(seconds: float) -> int:
    """The token of a time."""
    return int(TOKENIZER.timestamp_begin) + round(seconds * 50)


def spoken(text: str, start: float, end: float) -> list[int]:
    """The tokens of a segment."""
    return [stamp(start), *TOKENIZER.encode(text), stamp(end)]


@dataclass
class Generation:
    """A window's answer; avg_logprob as the pipeline is to find it again."""

    tokens: list[int]
    avg_logprob: float = -0.1
    no_speech_prob: float = 0.0


@dataclass
class Asked:
    """One window of one call."""

    prompt: list[int]
    loudness: float
    options: dict[str, float]
    batch: int

    @property
    def before(self) -> str:
        """The text that the decoder is told comes before."""
        return str(TOKENIZER.decode(self.prompt[: self.prompt.index(TOKENIZER.sot)]))

    @property
    def temperature(self) -> float:
        return self.options.get("sampling_temperature", 0.0)


@dataclass
class _Result:
    sequences_ids: list[list[int]]
    scores: list[float]
    no_speech_prob: float


@dataclass
class _Alignment:
    alignments: list[tuple[int, int]]
    text_token_probs: list[float]


def two_segments(_: Asked) -> Generation:
    return Generation([*spoken(" One.", 0.0, 1.0), *spoken(" Two.", 1.0, 2.0)])


@dataclass
class ScriptedModel:
    """Answers each window as `answer` says, once `go` is set; its encoder passes features on as they are.

    Aligns every token to a position of its own, ten apart. languages: what detect_language finds.
    """

    answer: Callable[[Asked], Generation] = two_segments
    is_multilingual: bool = True
    languages: Sequence[tuple[str, float]] = (("<|fr|>", 0.75), ("<|en|>", 0.2), ("<|de|>", 0.05))
    failure: Callable[[int], Exception | None] = lambda _: None
    go: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    windows: list[Asked] = field(default_factory=list)
    device: str = "cpu"
    frames: list[int] = field(default_factory=list)
    encoded: list[int] = field(default_factory=list)
    aligned: list[list[int]] = field(default_factory=list)

    def encode(self, features: ctranslate2.StorageView) -> ctranslate2.StorageView:
        self.encoded.append(features.shape[0])
        self.frames.append(features.shape[2])
        return features

    def generate(self, encoded: ctranslate2.StorageView, prompts: list[list[int]], **options: float) -> list[_Result]:
        self.entered.set()
        assert self.go.wait(ANSWER_SECONDS)
        error = self.failure(len(prompts))
        if error is not None:
            raise error
        rows = np.asarray(encoded)
        asked = [
            Asked(prompt, float(row.max()), options, len(prompts)) for prompt, row in zip(prompts, rows, strict=True)
        ]
        self.windows += asked
        return [_result(self.answer(one), options["length_penalty"]) for one in asked]

    def detect_language(self, encoded: ctranslate2.StorageView) -> list[list[tuple[str, float]]]:
        return [list(self.languages)] * int(encoded.shape[0])

    def align(
        self,
        _: ctranslate2.StorageView,
        start_sequence: list[int],
        text_tokens: list[list[int]],
        num_frames: list[int],
    ) -> list[_Alignment]:
        self.aligned.append(start_sequence)
        assert len(text_tokens) == len(num_frames)
        return [
            _Alignment([(number, 10 * number) for number in range(len(tokens) + 1)], [0.5] * len(tokens))
            for tokens in text_tokens
        ]


def _result(said: Generation, length_penalty: float) -> _Result:
    length = len(said.tokens)
    return _Result([said.tokens], [said.avg_logprob * (length + 1) / length**length_penalty], said.no_speech_prob)


def whisper(model: ScriptedModel, **facts: int) -> Whisper:
    """A loaded model that is scripted; facts: more about it."""
    languages = frozenset({"en", "fr", "de", "yue"} if model.is_multilingual else {"en"})
    return Whisper(model, VOCABULARY, FeatureExtractor(), languages, model.is_multilingual, suppressed=(1, 2), **facts)
