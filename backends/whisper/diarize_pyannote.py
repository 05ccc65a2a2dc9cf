"""Voices told apart by a pyannote pipeline. Needs pyannote-audio, and its telemetry switched off before this is imported."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from pyannote.audio import Pipeline

from backends.errors import Unavailable
from backends.inprocess.audio import SAMPLE_RATE, Samples
from backends.inprocess.ids import is_directory, is_model_id
from backends.whisper.diarize_names import Print, Turn


class _Stopped(Exception):
    """Nobody waits for the answer any more."""


class Pyannote:
    """A loaded pipeline. Its weights are pickles, which run code when read: whoever sets DIARIZATION_MODEL trusts it."""

    def __init__(self, source: str, device: str) -> None:
        """source: a directory with a config.yaml, or a hub id. Raises Unavailable with the way out."""
        if is_directory(source) and not (Path(source).expanduser() / "config.yaml").is_file():
            raise Unavailable("DIARIZATION_MODEL names a directory without a config.yaml; correct the setting.")
        if not (is_directory(source) or is_model_id(source)):
            raise Unavailable("DIARIZATION_MODEL is neither a hub id (owner/name) nor a directory (/path or ./path).")
        try:
            pipeline = Pipeline.from_pretrained(
                str(Path(source).expanduser()) if is_directory(source) else source,
                token=os.environ.get("HF_TOKEN") or False,  # False: not the one that somebody left in a file either
            )
            self._pipeline = pipeline.to(torch.device(device))
        except Exception as error:  # a config may name any class with any parameters, which fail as they like
            raise Unavailable(
                "The pipeline that DIARIZATION_MODEL names cannot be loaded: a directory must hold all its parts; a hub "
                "id must be cached, or reachable with an HF_TOKEN whose owner has accepted its conditions."
            ) from error

    def tell_apart(
        self, samples: Samples, bounds: dict[str, int], stopped: Callable[[], bool]
    ) -> tuple[list[Turn], dict[str, Print]]:
        """Turns that do not overlap, and the print of each speaker. bounds: num_speakers, min_speakers, max_speakers."""

        def look_up(*_: object, **__: object) -> None:
            if stopped():
                raise _Stopped

        file = {"waveform": torch.tensor(samples)[None], "sample_rate": SAMPLE_RATE}
        try:
            output = self._pipeline(file, hook=look_up, **bounds)
        except _Stopped:
            return [], {}
        prints = dict(zip(output.speaker_diarization.labels(), output.speaker_embeddings, strict=True))
        tracks = output.exclusive_speaker_diarization.itertracks(yield_label=True)
        turns = [Turn(float(span.start), float(span.end), label) for span, _, label in tracks]
        return turns, prints
