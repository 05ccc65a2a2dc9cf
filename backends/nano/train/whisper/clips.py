"""What a speech model is judged by: held-out sentences in voices that were trained and that were not, pauses, and silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random

import numpy as np

from backends.nano.train.whisper.audio import RATE, Samples, noise
from backends.nano.train.whisper.espeak import Espeak
from backends.nano.train.whisper.sentences import corpus, voice

COMMON = ["en-us", "en-gb", "en-us+m3", "en-us+f2"]
VARIANTS_NEVER_TRAINED = ["f4", "Alicia", "Hugo", "ed", "max", "miguel", "quincy", "sandro"]
NEVER_TRAINED = [f"{accent}+{variant}" for accent in ("en-us", "en-gb") for variant in VARIANTS_NEVER_TRAINED]
LONG_SECONDS = 120
QUIET_SECONDS = (1, 5, 30, 60)


@dataclass(frozen=True)
class Clip:
    """Sound at 16 kHz, and what is said in it."""

    samples: Samples
    text: str


def clips(count: int, voices: Sequence[str] = (), seed: int = 5, start: int = 0) -> list[Clip]:
    """`count` held-out sentences from number `start`, in one of `voices`, or of all trained ones if there are none.

    Each has silence around it and noise over it.
    """
    _, held_out = corpus(0)
    r, random, espeak = Random(seed), np.random.RandomState(seed), Espeak()
    made = []
    for text in islice(cycle(held_out), start, start + count):
        name = r.choice(voices) if voices else voice(r)
        samples = espeak.say(text, name, r.randint(130, 190), r.randint(30, 70)).samples
        before = r.uniform(0, 0.8)
        samples = samples * (r.uniform(0.15, 0.8) / np.abs(samples).max())
        samples = np.pad(samples, (int(before * RATE), int(r.uniform(0.1, 0.8) * RATE)))
        hiss = noise(random, len(samples), r.randrange(4)) * 10 ** r.uniform(-4, -2.2)
        made.append(Clip((samples + hiss).astype(np.float32), text))
    return made


def with_pauses(voices: Sequence[str], seconds: float = LONG_SECONDS, seed: int = 7) -> Clip:
    """About `seconds` of held-out sentences with pauses of 0.3 to 3 s and one noise over everything."""
    r, random = Random(seed), np.random.RandomState(seed)
    parts: list[Samples] = []
    texts: list[str] = []
    for clip in clips(int(seconds), voices, seed, start=300):
        if sum(map(len, parts)) > seconds * RATE:
            break
        parts += [clip.samples, np.zeros(int(r.uniform(0.3, 3) * RATE), np.float32)]
        texts.append(clip.text)
    sound = np.concatenate(parts)
    hiss = noise(random, len(sound), 1) * 10**-3.5
    return Clip((sound + hiss).astype(np.float32), " ".join(texts))


def quiet(seed: int = 3) -> list[Clip]:
    """Silence, and noise of four kinds, soft to loud: nothing is said in any of them."""
    r, random = Random(seed), np.random.RandomState(seed)
    silences = [np.zeros(seconds * RATE, np.float32) for seconds in QUIET_SECONDS]
    hisses = [
        noise(random, r.choice(QUIET_SECONDS) * RATE, kind) * np.float32(10 ** r.uniform(-4, -1))
        for kind in [0, 1, 2, 3] * 4
    ]
    return [Clip(samples, "") for samples in [*silences, *hisses]]
