"""Video classification on frames that were read here: transformers' own pipeline opens whatever address or path it is given."""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import numpy as np
import numpy.typing as npt
from transformers import BatchFeature
from transformers.pipelines.video_classification import VideoClassificationPipeline

from backends.errors import MediaRefused
from backends.pipelines.inputs import Media, content
from backends.pipelines.media import MAX_PIXELS

Frames = list[npt.NDArray[np.uint8]]

CODECS = ("h264", "hevc", "mpeg4", "vp8", "vp9", "av1", "libdav1d", "mjpeg")
ACCEPTED = "mp4, mov, webm or mkv"


class VideoClassification(VideoClassificationPipeline):  # type: ignore[misc]  # the library has no types
    """As transformers' own, with frames made ready by the model's image processor."""

    _load_image_processor = True
    _load_video_processor = False

    def preprocess(self, video: Media, num_frames: int | None = None, frame_sampling_rate: int = 1) -> BatchFeature:
        """num_frames of the first num_frames * frame_sampling_rate frames, evenly apart. Raises MediaRefused."""
        count = num_frames or self.model.config.num_frames
        frames = read_frames(video, count, frame_sampling_rate)
        return self.image_processor(frames, return_tensors="pt").to(self.dtype)


def read_frames(video: Media, count: int, every: int) -> Frames:
    """count frames [height, width, 3]. Raises MediaRefused for what is no video, too short or too large."""
    wanted = set(np.linspace(0, count * every - 1, num=count, dtype=np.int64).tolist())
    try:
        with av.open(
            io.BytesIO(data := content(video)),
            format=_demuxer(data, video.at),
            options={"format_whitelist": _demuxer(data, video.at), "protocol_whitelist": "none"},
        ) as container:
            frames = list(_chosen(container, wanted, MAX_PIXELS // count, video.at))
    except av.FFmpegError as error:
        raise _refused(video.at, "cannot be read as video: it is damaged or cut short") from error
    if len(frames) < count:
        raise _refused(video.at, f"has fewer than the {count * every} frames that the model looks at")
    return frames


def _chosen(
    container: av.container.InputContainer, wanted: set[int], most: int, at: str
) -> Iterator[npt.NDArray[np.uint8]]:
    stream = next(iter(container.streams.video), None)
    codec = getattr(getattr(stream, "codec_context", None), "name", None)
    if stream is None or codec not in CODECS:
        raise _refused(at, f"holds no video that is accepted (codec {codec})")
    for number, frame in enumerate(container.decode(stream)):
        if frame.width * frame.height > most:
            raise MediaRefused(
                f"`{at}` has frames of {frame.width}x{frame.height}, too large together.", param=at, too_large=True
            )
        if number in wanted:
            yield frame.to_ndarray(format="rgb24")
        if number >= max(wanted):
            return


def _demuxer(data: bytes, at: str) -> str:
    """FFmpeg's name of the container that data's first bytes show; its own guess takes in playlists, which open other files."""
    if data[4:8] == b"ftyp":
        return "mov"
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    raise _refused(at, f"is no video of an accepted kind; send {ACCEPTED}")


def _refused(at: str, reason: str) -> MediaRefused:
    return MediaRefused(f"`{at}` {reason}.", param=at)
