"""Word error rate of a speech model in faster-whisper, on spoken sentences that were never trained on. Needs espeak-ng."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from random import Random

import jiwer
import numpy as np
from ctranslate2.converters import TransformersConverter
from faster_whisper import WhisperModel

from backends.nano.train.common import evaluation_options
from backends.nano.train.whisper.audio import RATE, Samples, noise
from backends.nano.train.whisper.espeak import Espeak
from backends.nano.train.whisper.sentences import corpus, voice

COMMON = ["en-us", "en-gb", "en-us+m3", "en-us+f2"]
NEVER_TRAINED = ["f4", "Alicia", "Hugo", "ed", "max", "miguel", "quincy", "sandro"]
VOICES: dict[str, list[str]] = {
    "four common voices": COMMON,
    "196 trained voices": [],
    "variants never trained": [f"{accent}+{variant}" for accent in ("en-us", "en-gb") for variant in NEVER_TRAINED],
}
LONG_SECONDS = 120
QUIET_SECONDS = (1, 5, 30, 60)
CONVERTED_FILES = ["tokenizer.json", "preprocessor_config.json"]
NOT_WORDS = re.compile(r"[^a-z' ]")


@dataclass(frozen=True)
class Clip:
    """A spoken sentence with silence around and noise over it."""

    samples: Samples
    text: str


def clips(count: int, voices: Sequence[str] = (), seed: int = 5, start: int = 0) -> list[Clip]:
    """`count` held-out sentences from number `start`, in one of `voices`, or of all trained ones if there are none."""
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


def normalised(text: str) -> str:
    """Lower-case words without punctuation."""
    return " ".join(NOT_WORDS.sub("", text.lower()).split())


def word_error_rate(wanted: Sequence[str], got: Sequence[str]) -> float:
    """Wrong words of all words, 0 to 1 and above."""
    return float(jiwer.wer([normalised(text) for text in wanted], [normalised(text) for text in got]))


def load(directory: Path, compute: str, threads: int) -> WhisperModel:
    """The model as CTranslate2 runs it in `compute`: float32, int8."""
    with tempfile.TemporaryDirectory() as converted:
        converter = TransformersConverter(str(directory), copy_files=CONVERTED_FILES)
        converter.convert(converted, quantization=compute, force=True)
        return WhisperModel(converted, device="cpu", compute_type=compute, cpu_threads=threads)


def transcribe(model: WhisperModel, samples: Samples, beam: int, timestamps: bool, vad: bool = False) -> str:
    """The text of one clip; `vad` cuts its silence out first, as for anything longer than a window."""
    segments, _ = model.transcribe(
        samples, language="en", beam_size=beam, without_timestamps=not timestamps, vad_filter=vad
    )
    return "".join(segment.text for segment in segments)


def main(arguments: list[str] | None = None) -> None:
    """Print the word error rate by voices and by way of decoding."""
    parser = evaluation_options(__doc__, "whisper")
    parser.add_argument("--clips", type=int, default=60, help="clips for each group of voices (default: %(default)s)")
    parser.add_argument("--compute", default="int8", help="CTranslate2's compute type (default: %(default)s)")
    args = parser.parse_args(arguments)
    model = load(args.model, args.compute, args.threads)
    for group, voices in VOICES.items():
        spoken = clips(args.clips, voices)
        for beam, timestamps in ((1, False), (5, True)):
            got = [transcribe(model, clip.samples, beam, timestamps) for clip in spoken]
            rate = word_error_rate([clip.text for clip in spoken], got)
            way = f"beam {beam}, {'with' if timestamps else 'no'} timestamps"
            print(f"{group:24s} {way:26s} {100 * rate:5.1f} % of words wrong", flush=True)
    for group, voices in {"two minutes, one voice": ["en-us"], "two minutes, four voices": COMMON}.items():
        clip = with_pauses(voices)
        rate = word_error_rate([clip.text], [transcribe(model, clip.samples, 5, timestamps=True, vad=True)])
        print(f"{group:24s} {'silence cut, beam 5':26s} {100 * rate:5.1f} % of words wrong", flush=True)
    heard = [transcribe(model, clip.samples, 5, timestamps=True) for clip in quiet()]
    print(f"{sum(map(bool, heard))} of {len(heard)} clips of silence or noise gave text", flush=True)


if __name__ == "__main__":
    main()
