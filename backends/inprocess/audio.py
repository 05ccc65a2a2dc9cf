"""An uploaded file's bytes turned into samples, with nothing but those bytes ever read."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

import av
import numpy as np
import numpy.typing as npt

from backends.errors import MediaRefused

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

Samples: TypeAlias = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000
BLOCK_SECONDS = 10
RATES = range(4_000, 384_001)
CHANNELS = range(1, 65)
CODECS = ("pcm_", "adpcm_", "mp1", "mp2", "mp3", "flac", "opus", "vorbis", "aac", "alac")
ACCEPTED = "wav, mp3, flac, ogg, m4a, mp4, mpeg audio or webm"

_BYTES = np.dtype(np.float32).itemsize

# Writers to a pipe cannot know the size in advance and put the largest there.
UNKNOWN_SIZE = 0x7FFFF000
# Containers whose header states the exact length; the others estimate it.
EXACT = {"flac", "mov", "matroska"}
MISSING_SECONDS = 0.5

# FFmpeg would read far ahead to find out what its container's header says already. (Its `nobuffer` would forget what it read.)
LIVE = {"analyzeduration": "0", "probesize": "32"}


def decode(
    data: bytes, *, max_seconds: float, rate: int = SAMPLE_RATE, stopped: Callable[[], bool] = lambda: False
) -> Samples:
    """All of blocks() as one."""
    return np.concatenate(list(blocks(data, max_seconds=max_seconds, rate=rate, stopped=stopped)))


def blocks(
    data: bytes, *, max_seconds: float, rate: int = SAMPLE_RATE, stopped: Callable[[], bool] = lambda: False
) -> Generator[Samples, None, None]:
    """The first audio track of a file as mono samples in -1..1, rate of them a second, some ten seconds at a time. Blocks.

    Ends early once stopped(). Memory is bounded, whatever the file claims or unpacks to. Raises MediaRefused for anything
    that is not whole audio in an accepted container, and for more than max_seconds of it (too_large).
    """
    demuxer = container_of(data)
    if demuxer == "wav" and len(data) + 1 < (declared := int.from_bytes(data[4:8], "little") + 8) < UNKNOWN_SIZE:
        raise _cut_short(f"{len(data)} bytes of the {declared} that its header announces")
    waiting = bytearray()
    count, limit = 0, int(max_seconds * rate)
    try:
        with _opened(io.BytesIO(data), demuxer) as container:
            stream = _audio_stream(container)
            for piece in _resampled(_frames(container, stream), rate):
                waiting += piece
                count += len(piece) // _BYTES
                if count > limit:
                    raise MediaRefused(
                        f"The audio is longer than the {max_seconds:g} s that are accepted; split it into parts.",
                        too_large=True,
                    )
                if stopped():
                    break
                if len(waiting) >= BLOCK_SECONDS * rate * _BYTES:
                    yield np.frombuffer(waiting, np.float32)
                    waiting = bytearray()
            promised = _promised_seconds(container, stream, demuxer)
    except av.FFmpegError as error:
        raise MediaRefused(
            f"The file looks like {demuxer} but cannot be read as such: it is damaged or cut short."
        ) from error
    if not stopped():
        _check_length(count / rate, promised)
    yield np.frombuffer(waiting, np.float32)


class Source(Protocol):
    """What a live stream is read from."""

    def read(self, size: int, /) -> bytes:
        """What there is, size bytes at most; waits for some, and returns none at the end."""


def decode_live(source: Source) -> Generator[bytes, None, None]:
    """Webm with Opus as it comes: blocks of float32 bytes, mono at 16 kHz, some hundredths of a second behind. Blocks.

    Raises MediaRefused for anything else, and where the stream is damaged beyond going on.
    """
    try:
        with _opened(source, "matroska", LIVE) as container:
            stream = _audio_stream(container)
            if stream.codec_context.name != "opus":
                raise MediaRefused(f"The stream's audio is coded as {stream.codec_context.name}; send Opus.")
            yield from _resampled(_frames(container, stream), SAMPLE_RATE)
    except av.FFmpegError as error:
        raise MediaRefused("The stream cannot be read as webm: it is damaged, or not webm.") from error


def resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    """Mono samples of one rate as samples of another. Raises MediaRefused for rates that no audio has."""
    _check_shape(rate, 1)
    if rate == wanted:
        return samples
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout="mono")
    frame.sample_rate = rate
    return np.frombuffer(b"".join(_resampled(iter([frame]), wanted)), np.float32)


def container_of(data: bytes) -> str:
    """FFmpeg's name of the container that data's first bytes show. Raises MediaRefused for any but the accepted ones.

    The demuxer is chosen here and not by FFmpeg, whose own guess takes in playlists, and those open other files.
    """
    if not data:
        raise MediaRefused("The file is empty.")
    head = data[:16]
    if head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE":
        return "wav"
    if head[4:8] == b"ftyp":
        return "mov"
    for magic, name in ((b"fLaC", "flac"), (b"OggS", "ogg"), (b"\x1a\x45\xdf\xa3", "matroska"), (b"ID3", "mp3")):
        if head.startswith(magic):
            return name
    if _is_mpeg_audio(head):
        return "mp3"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"#EXTM3U", b"ffconcat", b"[playlist]")):
        raise MediaRefused(f"The file is a playlist, not audio; upload the audio itself, as {ACCEPTED}.")
    raise MediaRefused(f"The file is not audio of an accepted kind; upload {ACCEPTED}.")


def _is_mpeg_audio(head: bytes) -> bool:
    """Whether head is an MPEG audio frame header: sync, a layer, a bit rate and a sample rate that exist."""
    return (
        len(head) >= 4
        and head[0] == 0xFF
        and head[1] & 0xE0 == 0xE0
        and head[1] & 0x06 != 0
        and head[2] & 0xF0 != 0xF0
        and head[2] & 0x0C != 0x0C
    )


def _opened(source: Source, demuxer: str, options: Mapping[str, str] | None = None) -> InputContainer:
    """The container, opened so that no byte outside source can be reached, whatever is in it refers to."""
    closed = {"format_whitelist": demuxer, "protocol_whitelist": "none"}
    container: InputContainer = av.open(
        source, mode="r", format=demuxer, metadata_errors="ignore", options={**closed, **(options or {})}
    )
    return container


def _audio_stream(container: InputContainer) -> AudioStream:
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        raise MediaRefused("The file has no audio track.")
    codec = getattr(stream.codec_context, "name", None)  # a codec FFmpeg does not know leaves no context
    if codec is None or not codec.startswith(CODECS):
        raise MediaRefused(f"The file's audio is coded as {codec or 'something unknown'}, which is not accepted.")
    return stream


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """The decoded frames; a damaged packet is left out, as players do."""
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            continue
        yield from frames


def _resampled(frames: Iterator[AudioFrame], rate: int) -> Iterator[bytes]:
    """Blocks of float32 bytes, mono at rate. A change of format midway, as in chained Ogg, starts a new resampler."""
    shape: tuple[str, str, int] | None = None
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    for frame in frames:
        if shape != (now := (frame.format.name, frame.layout.name, frame.sample_rate)):
            _check_shape(frame.sample_rate, frame.layout.nb_channels)
            if shape is not None:
                yield from _blocks(resampler, None)
                resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            shape = now
        frame.pts = None  # the samples count, not the times written beside them
        yield from _blocks(resampler, frame)
    if shape is not None:
        yield from _blocks(resampler, None)


def _blocks(resampler: av.AudioResampler, frame: AudioFrame | None) -> Iterator[bytes]:
    for block in resampler.resample(frame):
        yield block.to_ndarray().tobytes()


def _check_shape(rate: int, channels: int) -> None:
    if rate not in RATES:
        raise MediaRefused(f"The audio has {rate} samples a second; {RATES[0]} to {RATES[-1]} are accepted.")
    if channels not in CHANNELS:
        raise MediaRefused(f"The audio has {channels} channels; {CHANNELS[0]} to {CHANNELS[-1]} are accepted.")


def _promised_seconds(container: InputContainer, stream: AudioStream, demuxer: str) -> float | None:
    """How long the header says the audio is, where headers say so exactly."""
    if demuxer not in EXACT:
        return None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and not container.streams.video:
        return float(container.duration / av.time_base)
    return None


def _check_length(seconds: float, promised: float | None) -> None:
    if promised is not None and seconds < promised - MISSING_SECONDS:
        raise _cut_short(f"{seconds:.1f} s of the {promised:.1f} s that its header announces")
    if seconds == 0:
        raise MediaRefused("The file holds no sound at all (0 s).")


def _cut_short(what_came: str) -> MediaRefused:
    return MediaRefused(f"The file is cut short: it holds {what_came}; upload it again.")
