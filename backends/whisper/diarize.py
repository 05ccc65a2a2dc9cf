"""Who speaks when, on request: by a pyannote pipeline, whose speakers get the names of known voices or letters."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

from backends.base import EngineSpec
from backends.errors import Broken, Invalid, MediaRefused, Unavailable, Unsupported
from backends.inprocess.audio import SAMPLE_RATE, Samples, decode
from backends.types import Diarize
from backends.whisper.diarize_names import Print, Turn, named
from backends.whisper.model import device_for

# 2 to 10 seconds, and what encoders cut or add.
SAMPLE_SECONDS = (1.9, 10.5)
KNOWN = "known_speaker_references"


class Voices(Protocol):
    """A loaded pipeline that tells voices apart."""

    def tell_apart(
        self, samples: Samples, bounds: dict[str, int], stopped: Callable[[], bool]
    ) -> tuple[list[Turn], dict[str, Print]]:
        """Turns in order of time, and the voice print of each of their speakers. Raises ValueError for bounds out of reach."""


class Diarizer:
    """Tells speakers apart. The pipeline is loaded on first use, and stays."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._voices: Voices | None = None

    def check(self, options: Diarize) -> None:
        """Raises Unsupported naming what is missing, Invalid for numbers that contradict one another."""
        if find_spec("pyannote") is None or find_spec("pyannote.audio") is None:
            raise Unsupported(
                "diarize needs the packages whisperx and pyannote-audio, which are not installed here; install "
                "requirements/cuda.lock.",
                param="diarize",
            )
        if not self._spec.diarization_model:
            raise Unsupported(
                "diarize needs a pipeline: set DIARIZATION_MODEL to the directory or hub id of one, such as "
                "pyannote/speaker-diarization-community-1.",
                param="diarize",
            )
        check_numbers(options)

    def speakers(self, samples: Samples, options: Diarize, stopped: Callable[[], bool] = lambda: False) -> list[Turn]:
        """The turns, apart and in order of time; none where nobody speaks. Blocks; one call at a time; ends early once stopped().

        Raises Unsupported and Invalid as check does, Invalid for more speakers than the audio has room for, MediaRefused
        for samples of known voices that are none, Unavailable when the pipeline cannot be loaded, Broken when it fails.
        """
        self.check(options)
        known = {name: _sample(name, data) for name, data in options.known}
        voices = self._voices or self._load()
        bounds = {
            name: value
            for name in ("num_speakers", "min_speakers", "max_speakers")
            if (value := getattr(options, name)) is not None
        }
        try:
            prints = {name: self._print(voices, name, sample, stopped) for name, sample in known.items()}
            turns, heard = voices.tell_apart(samples, bounds, stopped)
        except ValueError as error:
            if not bounds:
                raise Broken("The diarization pipeline failed; its log says why.") from error
            raise Invalid(
                f"The audio is too short for as many speakers as {' and '.join(bounds)} ask for; ask for fewer.",
                param=next(iter(bounds)),
            ) from error
        except RuntimeError as error:
            raise Broken("The diarization pipeline failed; its log says why.") from error
        return named(turns, heard, prints)

    def _load(self) -> Voices:
        os.environ["PYANNOTE_METRICS_ENABLED"] = "false"  # or it reports every file to its makers; read on import
        try:
            pyannote = import_module("backends.whisper.diarize_pyannote")
        except (ImportError, OSError) as error:
            raise Unavailable("pyannote-audio is installed, but cannot be loaded; the log says why.") from error
        self._voices = cast("Voices", pyannote.Pyannote(self._spec.diarization_model, device_for(self._spec)))
        return self._voices

    def _print(self, voices: Voices, name: str, sample: Samples, stopped: Callable[[], bool]) -> Print:
        _, heard = voices.tell_apart(sample, {"num_speakers": 1}, stopped)
        if not heard:
            raise Invalid(
                f"Nobody speaks in the sample of {name!r}; send 2 to 10 seconds of that voice alone.", param=KNOWN
            )
        return next(iter(heard.values()))


def check_numbers(options: Diarize) -> None:
    """Raises Invalid for numbers of speakers that are none, or that contradict one another."""
    exact, least, most = options.num_speakers, options.min_speakers, options.max_speakers
    for name, number in (("num_speakers", exact), ("min_speakers", least), ("max_speakers", most)):
        if number is not None and number < 1:
            raise Invalid(f"{name} is {number}; at least 1 speaks.", param=name)
    if least is not None and most is not None and least > most:
        raise Invalid(f"min_speakers is {least}, but max_speakers only {most}.", param="min_speakers")
    if exact is not None and not (least or exact) <= exact <= (most or exact):
        raise Invalid(f"num_speakers is {exact}, outside of min_speakers and max_speakers.", param="num_speakers")


def _sample(name: str, data: bytes) -> Samples:
    try:
        samples = decode(data, max_seconds=SAMPLE_SECONDS[1])
    except MediaRefused as error:
        raise MediaRefused(f"The sample of {name!r}: {error.message}", param=KNOWN) from error
    if len(samples) < SAMPLE_SECONDS[0] * SAMPLE_RATE:
        raise Invalid(
            f"The sample of {name!r} is {len(samples) / SAMPLE_RATE:.1f} s long; 2 to 10 s are needed.", param=KNOWN
        )
    return samples
