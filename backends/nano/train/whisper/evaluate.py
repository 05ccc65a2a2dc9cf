"""Word error rate of a speech model on spoken sentences that were never trained on, as the server hears them. Needs espeak-ng."""

from __future__ import annotations

import asyncio
import io
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jiwer
import soundfile
from ctranslate2.converters import TransformersConverter
from faster_whisper import WhisperModel

from backends.base import EngineSpec, ModelSpec
from backends.nano.train.common import evaluation_options
from backends.nano.train.whisper.audio import RATE, Samples
from backends.nano.train.whisper.clips import COMMON, NEVER_TRAINED, Clip, clips, quiet, with_pauses
from backends.types import Segment, Transcribe
from backends.whisper.backend import WhisperBackend

VOICES = {"four common voices": COMMON, "196 trained voices": [], "voices never trained": NEVER_TRAINED}
LONG = {"one voice": ["en-us"], "four voices": COMMON, "voices never trained": NEVER_TRAINED}
AT_ONCE = 8
CONVERTED_FILES = ["tokenizer.json", "preprocessor_config.json"]
NOT_WORDS = re.compile(r"[^a-z' ]")


def normalised(text: str) -> str:
    """Lower-case words without punctuation."""
    return " ".join(NOT_WORDS.sub("", text.lower()).split())


def word_error_rate(wanted: Sequence[str], got: Sequence[str]) -> float:
    """Wrong words of all words, 0 to 1 and above."""
    return float(jiwer.wer([normalised(text) for text in wanted], [normalised(text) for text in got]))


def served(directory: Path, sounds: Sequence[Samples], threads: int = 1) -> list[str]:
    """The text of each sound from the model in `directory`, as the server answers requests that say nothing but the file."""
    files = [wav(samples) for samples in sounds]
    with tempfile.TemporaryDirectory() as data:
        spec = EngineSpec(name="nano", kind="whisper", data=Path(data), device="cpu", cpu_threads=threads)
        return asyncio.run(heard(WhisperBackend(spec), ModelSpec(source=str(directory.resolve())), files))


async def heard(backend: WhisperBackend, model: ModelSpec, files: Sequence[bytes]) -> list[str]:
    """The text of each file, a few of them at a time."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def text(file: bytes) -> str:
        async with turn:
            events = [event async for event in backend.run(model, Transcribe(audio=file))]
        return "".join(event.text for event in events if isinstance(event, Segment))

    await backend.load(model, lambda _: None)
    try:
        return await asyncio.gather(*map(text, files))
    finally:
        await backend.close()


def wav(samples: Samples) -> bytes:
    """A WAV file of 16 bits."""
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def load(directory: Path, compute: str, threads: int) -> WhisperModel:
    """The model as faster-whisper runs it in `compute`: float32, int8."""
    with tempfile.TemporaryDirectory() as converted:
        converter = TransformersConverter(str(directory), copy_files=CONVERTED_FILES)
        converter.convert(converted, quantization=compute, force=True)
        return WhisperModel(converted, device="cpu", compute_type=compute, cpu_threads=threads)


def transcribe(model: WhisperModel, samples: Samples, beam: int, timestamps: bool) -> str:
    """The text of one clip from faster-whisper, which pads it to 30 s."""
    segments, _ = model.transcribe(samples, language="en", beam_size=beam, without_timestamps=not timestamps)
    return "".join(segment.text for segment in segments)


def show(measure: str, spoken: Sequence[Clip], got: Sequence[str]) -> None:
    """One line of results."""
    rate = word_error_rate([clip.text for clip in spoken], got)
    print(f"{measure:68s} {100 * rate:5.1f} % of words wrong", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Print the word error rate by voices, by way of decoding, of long audio, and what is heard in silence."""
    parser = evaluation_options(__doc__, "whisper")
    parser.add_argument("--clips", type=int, default=120, help="clips for each group of voices (default: %(default)s)")
    parser.add_argument("--start", type=int, default=0, help="the first held-out sentence (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=5, help="of voices, silence and noise (default: %(default)s)")
    parser.add_argument("--long-seed", type=int, default=7, help="the same, of long audio (default: %(default)s)")
    args = parser.parse_args(arguments)
    elsewhere = load(args.model, "int8", args.threads)
    for group, voices in VOICES.items():
        spoken = clips(args.clips, voices, args.seed, args.start)
        sounds = [clip.samples for clip in spoken]
        show(group, spoken, served(args.model, sounds, args.threads))
        for beam, timestamps in ((5, True), (1, False)):
            way = f"beam {beam}, {'with' if timestamps else 'no'} timestamps"
            got = [transcribe(elsewhere, samples, beam, timestamps) for samples in sounds]
            show(f"{group}, faster-whisper, int8, {way}", spoken, got)
    for group, voices in LONG.items():
        clip = with_pauses(voices, seed=args.long_seed)
        show(f"two minutes with pauses, {group}", [clip], served(args.model, [clip.samples], args.threads))
    texts = served(args.model, [clip.samples for clip in quiet()], args.threads)
    print(f"{sum(map(bool, texts))} of {len(texts)} clips of silence or noise gave text", flush=True)


if __name__ == "__main__":
    main()
