"""Write the demo clips of samples/: held-out sentences as 16 kHz WAV, with their text beside. Needs espeak-ng."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile

from backends.nano.train.whisper.audio import RATE, Samples
from backends.nano.train.whisper.clips import Clip, clips

VOICES = ("en-us", "en-gb+f2", "en-gb-scotland+m3", "en-us+m7", "en-us+f4")
LONG_CLIPS = 5
PAUSE = RATE // 2


def longest(candidates: list[Clip]) -> Clip:
    """The clip with the longest text among those under 5.8 s."""
    return max((c for c in candidates if len(c.samples) < 5.8 * RATE), key=lambda c: len(c.text))


def write(path: Path, samples: Samples, lines: list[str], subtype: str) -> None:
    """One WAV file and its text."""
    soundfile.write(path.with_suffix(".wav"), samples, RATE, subtype=subtype)
    path.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Five short clips, and a long one in IMA ADPCM, a quarter of the size, so that decoders have something to decode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory for the clips, made if missing")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(VOICES):
        clip = longest(clips(12, [name], seed=20 + k, start=400 + 12 * k))
        write(args.out / f"{k + 1}_{name.replace('+', '_')}", clip.samples, [clip.text], "PCM_16")
    spoken = clips(LONG_CLIPS, seed=33, start=480)
    samples = np.concatenate([np.pad(clip.samples, (0, PAUSE)) for clip in spoken])
    write(args.out / f"{len(VOICES) + 1}_long", samples, [clip.text for clip in spoken], "IMA_ADPCM")


if __name__ == "__main__":
    main()
