"""A Whisper checkpoint made ready for CTranslate2 on a device that is there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import ctranslate2
import tokenizers
from faster_whisper import WhisperModel
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens

from backends.base import EngineSpec, ModelSpec, Progress, Report
from backends.errors import NoDevice, OutOfMemory, Unavailable
from backends.inprocess.audio import SAMPLE_RATE
from backends.inprocess.batch import out_of_memory
from backends.inprocess.conversion import converted
from backends.inprocess.hub import Hub, chosen, read_config

FILES = ("tokenizer.json", "preprocessor_config.json")
# What preprocessor_config.json says, in seconds, when a model was trained on windows shorter than 30 s too: how short they
# may be with their padding, and how much sound they may hold.
SHORTEST, LONGEST = "shortest_chunk_length", "longest_chunk_length"
FRAMES = 3000
FRAMES_PER_SECOND = 100
# Windows of one length share a batch, so there are few lengths; and silence after the last word helps to end there.
STEP, TAIL = 500, 50


@dataclass(frozen=True, slots=True)
class Whisper:
    """A loaded model. log_mel: samples at 16 kHz to what it hears; languages: the codes it takes; multilingual: knows more
    than English and can translate into it; suppressed: tokens that are no speech and never written; shortest: frames of
    10 ms that a window has at least, padding included; longest: frames of sound that it hears at once.
    """

    model: ctranslate2.models.Whisper
    vocabulary: tokenizers.Tokenizer
    log_mel: FeatureExtractor
    languages: frozenset[str]
    multilingual: bool
    suppressed: tuple[int, ...]
    shortest: int = FRAMES
    longest: int = FRAMES

    @property
    def window(self) -> int:
        """How many samples it hears at once."""
        return self.longest * SAMPLE_RATE // FRAMES_PER_SECOND

    def frames(self, content: int) -> int:
        """How many frames a window has, once padded, that has `content` frames of sound.

        Whisper was trained on 30 s, whatever is in them, and needs to see as many. A model trained on shorter windows too
        says so, and short clips are then computed many times faster.
        """
        steps = -(-(content + TAIL) // STEP)
        return min(max(steps * STEP, self.shortest), max(self.longest, self.shortest))

    def tokenizer(self, language: str, task: str) -> Tokenizer:
        """Text to tokens and back; its sot_sequence begins a transcript in language."""
        return Tokenizer(self.vocabulary, self.multilingual, task=task, language=language)


def load(model: ModelSpec, spec: EngineSpec, hub: Hub, report: Report) -> Whisper:
    """Find, convert where needed, and load. Blocks; report is called from this thread.

    Raises Unavailable, and Unsupported for a model of the hub that cannot be run.
    """
    with chosen(model):
        return _load(model, spec, hub, report)


def _load(model: ModelSpec, spec: EngineSpec, hub: Hub, report: Report) -> Whisper:
    device = device_for(spec)
    source = hub.locate(model, report)
    _check_is_whisper(model.label, source)
    directory = converted(source, store=spec.data / "conversions", quantization=None, copy=FILES, report=report)
    if not (directory / "tokenizer.json").is_file():
        raise Unavailable(f"{model.label} has no tokenizer.json, which is needed to read and write its text.")
    report(Progress("load", 0, 1))
    try:
        parts = WhisperModel(
            str(directory),
            device=device,
            compute_type=_compute(spec, device),
            cpu_threads=spec.cpu_threads or _threads(),
            local_files_only=True,
        )
    except (ValueError, RuntimeError, MemoryError) as error:
        if out_of_memory(error):
            raise OutOfMemory(f"{model.label} needs more memory than {device} has left.") from error
        raise Unavailable(f"{model.label} cannot be loaded on {device}: it is damaged, or not Whisper.") from error
    report(Progress("load", 1, 1))
    return _assembled(parts, directory)


def _assembled(parts: WhisperModel, directory: Path) -> Whisper:
    """The model from faster-whisper's parts, and what its directory says of its windows."""
    features = read_config(directory / "preprocessor_config.json")
    multilingual = bool(parts.model.is_multilingual)
    tokenizer = Tokenizer(parts.hf_tokenizer, multilingual, task="transcribe", language="en")
    return Whisper(
        model=parts.model,
        vocabulary=parts.hf_tokenizer,
        log_mel=_matching(parts),
        languages=frozenset(parts.supported_languages),
        multilingual=multilingual,
        suppressed=tuple(get_suppressed_tokens(tokenizer, [-1])),
        shortest=_frames(features.get(SHORTEST)),
        longest=_frames(features.get(LONGEST)),
    )


def _frames(seconds: object) -> int:
    """A length that a model gives for its windows; all of 30 s where it gives none."""
    if not isinstance(seconds, int | float) or seconds <= 0:
        return FRAMES
    return min(round(seconds * FRAMES_PER_SECOND), FRAMES)


def device_for(spec: EngineSpec) -> str:
    """The device to load on, "cuda" or "cpu". Raises NoDevice when the one asked for is not there."""
    cuda = ctranslate2.get_cuda_device_count() > 0
    if spec.device not in {"auto", "cpu", "cuda"}:
        raise NoDevice(f"device {spec.device!r} of engine {spec.name} is none of auto, cpu, cuda.")
    if spec.device == "cuda" and not cuda:
        raise NoDevice(f"Engine {spec.name} wants device cuda, but no CUDA device is found; use cpu or auto.")
    device = "cuda" if cuda and spec.device != "cpu" else "cpu"
    known = {"default", "auto", *ctranslate2.get_supported_compute_types(device)}
    if spec.compute_type not in known:
        raise NoDevice(
            f"compute_type {spec.compute_type!r} of engine {spec.name} is not available on {device}; "
            f"use one of {', '.join(sorted(known))}."
        )
    return device


def _compute(spec: EngineSpec, device: str) -> str:
    """By default as stored, but for float16 on a CPU: CTranslate2 would compute in float32 anyway, and warn."""
    return "float32" if spec.compute_type == "default" and device == "cpu" else spec.compute_type


def _check_is_whisper(name: str, directory: Path) -> None:
    kind = read_config(directory / "config.json").get("model_type", "whisper")  # CTranslate2's own config names none
    if kind != "whisper":
        raise Unavailable(f"{name} is a {kind} model, not Whisper; serve it with the engine for its kind.")


def _matching(parts: WhisperModel) -> FeatureExtractor:
    """An extractor of as many mel bands as the model was trained on, where no preprocessor_config.json says how many."""
    extractor = parts.feature_extractor
    if extractor.mel_filters.shape[0] == parts.model.n_mels:
        return extractor
    return FeatureExtractor(**{**parts.feat_kwargs, "feature_size": parts.model.n_mels})


def _threads() -> int:
    """Every core but one, unless OMP_NUM_THREADS says otherwise (0 = leave it to that).

    The threads of a layer wait for each other busily: where the event loop or another engine takes one core away,
    as many threads as cores are many times slower than one fewer.
    """
    return 0 if "OMP_NUM_THREADS" in os.environ else max(1, len(os.sched_getaffinity(0)) - 1)
