"""Pictures, sounds and videos to ask about."""

from __future__ import annotations

import base64
import io
import wave

import av
import numpy as np
from PIL import Image


def png(width: int = 40, height: int = 24, *, kind: str = "PNG", mode: str = "RGB") -> bytes:
    """A picture of squares."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([(x * 6) % 256, (y * 10) % 256, ((x // 8 + y // 8) % 2) * 255], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


def sound(seconds: float = 0.5, rate: int = 16_000) -> bytes:
    """A tone, as WAV."""
    samples = (np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * 440 / rate) * 8000).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes(samples.tobytes())
    return file.getvalue()


def b64(data: bytes) -> str:
    """As clients send files in JSON."""
    return base64.b64encode(data).decode()


def mp4(frames: int = 12, width: int = 48, height: int = 32) -> bytes:
    """A video that gets brighter."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10, width=width, height=height, pix_fmt="yuv420p")
        for number in range(frames):
            pixels = np.full((height, width, 3), number * 15 % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()
