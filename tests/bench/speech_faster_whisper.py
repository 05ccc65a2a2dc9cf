"""faster-whisper behind the least server. usage: python -m tests.bench.speech_faster_whisper NAME PORT MODEL"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio

from tests.bench.library_server import Library, main

BATCH = 16
SAMPLE_RATE = 16_000


def alone(directory: str) -> Library:
    """A file at a time, everything at its default."""
    model = _open(directory)

    def answer(bodies: Sequence[bytes]) -> list[str]:
        return ["".join(segment.text for segment in model.transcribe(io.BytesIO(body))[0]) for body in bodies]

    return Library(answer)


def batched(directory: str) -> Library:
    """A file at a time, everything at its default: what one file holds is the batch."""
    pipeline = BatchedInferencePipeline(_open(directory))

    def answer(bodies: Sequence[bytes]) -> list[str]:
        found = [pipeline.transcribe(io.BytesIO(body), batch_size=BATCH)[0] for body in bodies]
        return ["".join(segment.text for segment in segments) for segments in found]

    return Library(answer)


def joined(directory: str) -> Library:
    """Files joined into one whose parts are named, so that a batch can be of several files."""
    pipeline = BatchedInferencePipeline(_open(directory))

    def answer(bodies: Sequence[bytes]) -> list[str]:
        clips = [decode_audio(io.BytesIO(body)) for body in bodies]
        bounds = list(pairwise(accumulate((len(clip) / SAMPLE_RATE for clip in clips), initial=0.0)))
        parts = [{"start": start, "end": end} for start, end in bounds]
        segments, _ = pipeline.transcribe(np.concatenate(clips), clip_timestamps=parts, batch_size=BATCH)
        texts = [""] * len(bodies)
        for segment in segments:
            texts[part_of(bounds, (segment.start + segment.end) / 2)] += segment.text
        return texts

    return Library(answer, BATCH)


def part_of(bounds: Sequence[tuple[float, float]], at: float) -> int:
    """The number of the part that holds this moment; the last one holds all that comes after."""
    return next((number for number, (_, end) in enumerate(bounds) if at <= end), len(bounds) - 1)


def _open(directory: str) -> WhisperModel:
    return WhisperModel(directory, device="cpu", compute_type="float32", cpu_threads=1, local_files_only=True)


if __name__ == "__main__":
    main({"alone": alone, "batched": batched, "joined": joined})
