"""Audio files of every accepted container, made with PyAV's encoders, and the broken ones around them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import av
import numpy as np

from backends.inprocess.audio import SAMPLE_RATE, Samples

# name -> (muxer, encoder, sample rate of the encoder)
ENCODERS = {
    "wav": ("wav", "pcm_s16le", 16_000),
    "mp3": ("mp3", "libmp3lame", 16_000),
    "mpga": ("mp2", "mp2", 16_000),
    "flac": ("flac", "flac", 16_000),
    "ogg": ("ogg", "libopus", 48_000),
    "m4a": ("ipod", "aac", 44_100),
    "mp4": ("mp4", "aac", 48_000),
    "webm": ("webm", "libopus", 48_000),
    "mka": ("matroska", "flac", 22_050),
}


def encode(name: str, samples: Samples, channels: int = 1) -> bytes:
    """samples (mono, 16 kHz) as a file of that kind, the same on each channel."""
    muxer, codec, rate = ENCODERS[name]
    layout = "mono" if channels == 1 else "stereo"
    file = io.BytesIO()
    with av.open(file, "w", format=muxer) as container:
        _mux(container, container.add_stream(codec, rate=rate, layout=layout), samples)
    return file.getvalue()


def streamed(samples: Samples, *, muxer: str = "webm", frame_ms: int = 60, cluster_ms: int = 1000) -> bytes:
    """samples (mono, 16 kHz) as browsers record them: Opus in Matroska of unknown size, which nobody could go back in."""
    sink = _Sink()
    options = {"live": "1", "cluster_time_limit": str(cluster_ms)}
    with av.open(sink, "w", format=muxer, options=options) as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono", options={"frame_duration": str(frame_ms)})
        _mux(container, stream, samples)
    return bytes(sink.written)


class _Sink:
    """Takes what is written, and cannot be gone back in."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> int:
        """All of it."""
        self.written += data
        return len(data)


def _mux(container: av.container.OutputContainer, stream: av.AudioStream, samples: Samples) -> None:
    resampler = av.AudioResampler(
        format=stream.format.name, layout=stream.layout, rate=stream.rate, frame_size=stream.frame_size
    )
    for frame in [*_frames(samples), None]:
        for resampled in resampler.resample(frame):
            container.mux(stream.encode(resampled))
    container.mux(stream.encode(None))


def _frames(samples: Samples) -> Iterator[av.AudioFrame]:
    for start in range(0, len(samples), SAMPLE_RATE * 60):
        block = np.ascontiguousarray(samples[np.newaxis, start : start + SAMPLE_RATE * 60])
        frame = av.AudioFrame.from_ndarray(block, format="flt", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, start
        yield frame


def wav(
    data: bytes, *, channels: int = 1, rate: int = SAMPLE_RATE, bits: int = 16, claimed: int | None = None
) -> bytes:
    """A WAV file whose header says what it is told to; claimed: the size of data that it announces."""
    size = len(data) if claimed is None else claimed
    width = channels * bits // 8
    layout = struct.pack("<HHIIHH", 1, channels, rate, (rate * width) & 0xFFFFFFFF, width & 0xFFFF, bits)
    head = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", min(len(head) + size, 0xFFFFFFFF)) + head + data


def tone(seconds: float) -> Samples:
    """A quiet 400 Hz tone."""
    turns = np.arange(int(seconds * SAMPLE_RATE)) * (400 / SAMPLE_RATE)
    return np.asarray(0.2 * np.sin(2 * np.pi * turns), np.float32)
