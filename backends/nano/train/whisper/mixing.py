"""The sound of a training window: voices of another throat and loudness each time, and mostly noise over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from backends.nano.train.whisper.audio import FLOOR, MELS, LogMel, scaled
from backends.nano.train.whisper.utterances import Placed


@dataclass(frozen=True)
class Variety:
    """warp: of the vocal tract, each way; softest: noise, log10 of its power; parts: share of utterances heard in part;
    ended: share of windows whose recording ends before them.

    Silence is no end: programs on CTranslate2 pad frames with zeros, which are louder than silence.
    """

    warp: float
    softest: float
    parts: float
    ended: float


FIRST = Variety(warp=0.07, softest=-5.5, parts=0.0, ended=0.0)
FINE = Variety(warp=0.12, softest=-7.0, parts=0.12, ended=0.6)


def sound_of(placed: Sequence[Placed], frames: int, noises: Sequence[LogMel], r: Random, variety: Variety) -> LogMel:
    """Log-mel frames of a window, scaled for the encoder: voices on silence, and mostly one of `noises` over them."""
    sound = np.full((MELS, frames), FLOOR, np.float32)
    end = 20
    for item in placed:
        voice = varied(item.utterance.frames, r, variety.warp)[:, : frames - item.start]
        end = item.start + voice.shape[1]
        sound[:, item.start : end] = np.maximum(sound[:, item.start : end], voice)
    if r.random() < (0.6 if placed else 0.9):
        length = frames if r.random() < 0.5 else min(frames, end + r.randint(0, 150))
        recorded = r.choice(noises)
        begin = r.randint(0, recorded.shape[1] - length)
        level = r.uniform(variety.softest, -2.2) if placed else r.uniform(-6.0, 0.0)
        hiss = recorded[:, begin : begin + length] + level
        # Powers add up: log10(10^a + 10^b).
        sound[:, :length] = np.logaddexp(sound[:, :length] * math.log(10), hiss * math.log(10)) / math.log(10)
    window = scaled(np.maximum(sound, FLOOR))
    if r.random() < variety.ended:
        window[:, end + r.randint(0, 100) if placed else r.randint(20, frames) :] = 0
    return window


def varied(frames: NDArray[np.float16], r: Random, warp: float) -> LogMel:
    """A voice with another vocal tract, another tilt, another loudness."""
    voice = frames.astype(np.float32)
    if r.random() < 0.4:
        bins = np.clip(np.arange(MELS) * r.uniform(1 - warp, 1 + warp), 0, MELS - 1)
        low = np.minimum(bins.astype(int), MELS - 2)
        weight = (bins - low)[:, None].astype(np.float32)
        voice = voice[low] * (1 - weight) + voice[low + 1] * weight
    if r.random() < 0.4:
        voice = voice + np.linspace(-1, 1, MELS, dtype=np.float32)[:, None] * r.uniform(-0.4, 0.4)
    return voice + np.float32(r.uniform(-1.6, 0.3))
