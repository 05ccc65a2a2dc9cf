"""Speaks every line of manifest.tsv with espeak-ng into a FLAC file: python tests/data/speech/make.py

The sentences are numbers 0, 9, 18, ... of the 600 that the recipe of nano-whisper keeps out of its training, the voices
take turns, rates and pitches are drawn with random.Random(2026). None was chosen by what a model makes of it. As in a
real room, loudness varies, there is a little silence around the speech, and never a silence without noise.
"""

from __future__ import annotations

import csv
import io
import subprocess
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

HERE = Path(__file__).parent
RATE = 16_000
SEED = 2026

Wave = npt.NDArray[np.float64]


def speak(voice: str, rate: str, pitch: str, text: str) -> Wave:
    """The bare speech at 16 kHz, -1..1. rate: words a minute; pitch: 0..99."""
    command = ["espeak-ng", "-v", voice, "-s", rate, "-p", pitch, "--stdout", text]
    spoken = subprocess.run(command, check=True, capture_output=True).stdout
    resampler = av.AudioResampler(format="dbl", layout="mono", rate=RATE)
    with av.open(io.BytesIO(spoken), format="wav") as source:
        blocks = [
            block.to_ndarray()[0] for frame in [*source.decode(audio=0), None] for block in resampler.resample(frame)
        ]
    wave = np.concatenate(blocks)
    heard = np.flatnonzero(np.abs(wave) > 0.002)
    return wave[heard[0] : heard[-1] + 1]


def in_a_room(wave: Wave, chance: np.random.Generator) -> Wave:
    """wave with a peak of 0.1..0.4, 0.1..0.4 s around it, and noise of -86..-80 dB."""
    before, after = (np.zeros(int(chance.uniform(0.1, 0.4) * RATE)) for _ in range(2))
    loud = wave * chance.uniform(0.1, 0.4) / np.abs(wave).max()
    whole = np.concatenate([before, loud, after])
    return whole + chance.standard_normal(len(whole)) * 10 ** chance.uniform(-4.3, -4)


def write_flac(wave: Wave, path: Path) -> None:
    """wave as FLAC, mono, 16 bits at 16 kHz."""
    pcm = np.round(wave * 32767).clip(-32768, 32767).astype(np.int16)
    with av.open(str(path), "w", format="flac") as target:
        stream = target.add_stream("flac", rate=RATE, layout="mono", options={"compression_level": "12"})
        frame = av.AudioFrame.from_ndarray(pcm[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = RATE
        for part in (frame, None):
            target.mux(stream.encode(part))


def main() -> None:
    chance = np.random.default_rng(SEED)
    with (HERE / "manifest.tsv").open(encoding="utf-8", newline="") as manifest:
        for line in csv.DictReader(manifest, delimiter="\t"):
            wave = speak(line["voice"], line["rate"], line["pitch"], line["text"])
            write_flac(in_a_room(wave, chance), HERE / line["file"])


if __name__ == "__main__":
    main()
