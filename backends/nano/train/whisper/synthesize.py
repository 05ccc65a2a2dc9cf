"""The corpus: every sentence spoken once by a random voice, as log-mel frames with word and phoneme times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from backends.nano.train.whisper.audio import HOP, RATE, LogMel, log_mel, noise
from backends.nano.train.whisper.espeak import Espeak, Speech, Word
from backends.nano.train.whisper.sentences import voice

NOISES = 12
NOISE_SECONDS = 30
NOISE_LEVEL = 0.3


@dataclass(frozen=True)
class Utterance:
    """Log-mel frames [80, frames] in float16, and what is said when, in seconds."""

    frames: NDArray[np.float16]
    words: Sequence[Word]
    phonemes: Sequence[tuple[str, float]]

    @property
    def length(self) -> int:
        """Frames of 10 ms."""
        return int(self.frames.shape[1])


def utterance(speech: Speech) -> Utterance:
    """`speech` cut shortly after its last word, at half of full scale."""
    samples = speech.samples[: int((speech.words[-1].end + 0.12) * RATE)]
    samples = np.pad(samples, (0, 2 * HOP))
    samples = np.pad(samples, (0, -len(samples) % HOP))
    samples = samples * (0.5 / (np.abs(samples).max() + 1e-6))
    return Utterance(log_mel(samples).astype(np.float16), speech.words, speech.phonemes)


def spoken(
    texts: Sequence[str], seed: int, draw: Callable[[Random], str] = voice, espeak: Espeak | None = None
) -> list[Utterance]:
    """Every text in a voice that `draw` names, at a rate and a pitch drawn from `seed`. Raises EspeakMissing."""
    r, espeak = Random(seed), espeak or Espeak()
    return [utterance(espeak.say(text, draw(r), r.randint(125, 195), r.randint(25, 75))) for text in texts]


def noises(seed: int) -> list[LogMel]:
    """Thirty seconds of each of twelve noises, as log-mel frames."""
    random = np.random.RandomState(seed)
    return [log_mel(noise(random, RATE * NOISE_SECONDS, kind % 4) * NOISE_LEVEL) for kind in range(NOISES)]
