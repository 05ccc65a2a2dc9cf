"""Files that came with a request, opened: images as Pillow's, sounds as samples, videos as frames; bounded, from bytes alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from backends.errors import Invalid, MediaRefused
from backends.inprocess.audio import Samples, decode, resampled
from backends.pipelines.inputs import Media, Wave, content

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


class Opener:
    """Opens the media of one request. rate: samples a second that the model hears; limits are for all of them together."""

    def __init__(self, *, rate: int, max_audio_seconds: float, stopped: Callable[[], bool]) -> None:
        self._rate = rate
        self._seconds = max_audio_seconds
        self._max_seconds = max_audio_seconds
        self._pixels = MAX_PIXELS
        self._stopped = stopped

    def opened(self, read: object) -> object:
        """What was read of the inputs, with its media opened. Raises Invalid and MediaRefused, naming the place."""
        match read:
            case Media(kind="image"):
                return self._image(read)
            case Media(kind="audio"):
                return self._sound(
                    lambda: decode(content(read), max_seconds=self._seconds, rate=self._rate, stopped=self._stopped),
                    read.at,
                )
            case Wave():
                return self._sound(lambda: self._wave(read), read.at)
            case dict():
                return {name: self.opened(item) for name, item in read.items()}
            case list():
                return [self.opened(item) for item in read]
            case _:
                return read

    def _image(self, media: Media) -> Image:
        from PIL import Image, ImageOps  # noqa: PLC0415  # not everywhere installed

        data = content(media)
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                self._count(image.width * image.height, media.at)
                return ImageOps.exif_transpose(image).convert("RGB")
        except MediaRefused:
            raise
        except Exception as error:  # whatever a decoder trips over, the file is to blame
            raise MediaRefused(
                f"`{media.at}` is no image that can be read; send a whole {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file.",
                param=media.at,
            ) from error

    def _count(self, pixels: int, at: str) -> None:
        self._pixels -= pixels
        if self._pixels < 0:
            raise MediaRefused(
                f"`{at}` is too large: the images of a request may have {MAX_PIXELS / 1e6:g} million pixels together.",
                param=at,
                too_large=True,
            )

    def _sound(self, decoded: Callable[[], Samples], at: str) -> Samples:
        try:
            samples = decoded()
        except MediaRefused as error:
            raise MediaRefused(f"`{at}`: {error.message}", param=at, too_large=error.too_large) from error
        self._seconds -= len(samples) / self._rate
        return samples

    def _wave(self, wave: Wave) -> Samples:
        if len(wave.samples) > self._seconds * max(wave.rate, 1):
            raise MediaRefused(
                f"it is longer than the {self._max_seconds:g} s that are accepted in one request.", too_large=True
            )
        try:
            samples = np.array(wave.samples, np.float32)
        except (ValueError, TypeError, OverflowError) as error:
            raise Invalid(f"`{wave.at}` must be a list of numbers.", param=wave.at) from error
        if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
            raise Invalid(f"`{wave.at}` must be a list of finite numbers, one after the other.", param=wave.at)
        return resampled(samples, wave.rate, self._rate)
