"""transformers' pipeline behind the least server. usage: python -m tests.bench.speech_transformers NAME PORT MODEL"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import cast

import soundfile
import torch
from transformers import pipeline

from tests.bench.library_server import Library, main

BEAMS = 5  # the default of Whisper, of faster-whisper and of this project
BATCH = 16


def recognizer(directory: str, most: int = 1) -> Library:
    """As many files at a time as wait, up to `most`."""
    torch.set_num_threads(1)
    make = cast("Callable[..., Callable[..., list[dict[str, str]]]]", pipeline)
    recognize = make("automatic-speech-recognition", directory, dtype=torch.float32, device="cpu")

    def answer(bodies: Sequence[bytes]) -> list[str]:
        sounds = [soundfile.read(io.BytesIO(body), dtype="float32") for body in bodies]
        inputs = [{"raw": samples, "sampling_rate": rate} for samples, rate in sounds]
        found = recognize(inputs, batch_size=len(inputs), generate_kwargs={"num_beams": BEAMS})
        return [one["text"] for one in found]

    return Library(answer, most)


if __name__ == "__main__":
    main({"alone": recognizer, "batched": lambda directory: recognizer(directory, BATCH)})
