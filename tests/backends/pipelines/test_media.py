"""Files opened from their bytes alone, within limits."""

from __future__ import annotations

import io
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from backends.errors import BackendError, Invalid, MediaRefused
from backends.pipelines import media, video
from backends.pipelines.inputs import Media, Wave
from backends.pipelines.media import Opener
from backends.pipelines.video import read_frames
from tests.backends.pipelines.files import b64, mp4, png, sound


def opener(rate: int = 16_000, seconds: float = 5) -> Opener:
    return Opener(rate=rate, max_audio_seconds=seconds, stopped=lambda: False)


def image(data: bytes) -> object:
    return opener().opened(Media("image", data, "inputs"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_images_of_every_accepted_kind(kind: str) -> None:
    opened = image(png(20, 10, kind=kind))
    assert isinstance(opened, Image.Image)
    assert (opened.mode, opened.size) == ("RGB", (20, 10))


def test_images_lie_as_they_were_taken() -> None:
    taken = Image.new("RGB", (20, 10))
    exif = taken.getexif()
    exif[0x0112] = 6
    file = io.BytesIO()
    taken.save(file, "JPEG", exif=exif)
    opened = image(file.getvalue())
    assert isinstance(opened, Image.Image)
    assert opened.size == (10, 20)


def bomb(width: int, height: int) -> bytes:
    """A few kB of PNG that claim to be so large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(8001, 8001), (30_000, 30_000), (1_000_000, 65)])
def test_images_too_large_are_refused_before_they_are_decoded(width: int, height: int) -> None:
    with pytest.raises(MediaRefused, match="`inputs`") as refused:
        image(bomb(width, height))
    assert refused.value.param == "inputs"


def test_images_are_counted_together() -> None:
    together = opener()
    small = Media("image", bomb(4000, 4000), "inputs[0]")
    for _ in range(4):
        with pytest.raises(MediaRefused, match="no image that can be read"):  # its pixels are missing
            together.opened(small)
    with pytest.raises(MediaRefused, match="64 million pixels together") as refused:
        together.opened(small)
    assert refused.value.too_large


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"/etc/passwd",
        b"http://127.0.0.1/a.png",
        png()[:60],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"II*\0" + bytes(100),
    ],
)
def test_what_is_no_accepted_image_is_refused(data: bytes) -> None:
    with pytest.raises(MediaRefused, match="`inputs` is no image that can be read; send a whole JPEG, PNG"):
        image(data)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_damaged_files_are_refused_and_nothing_else(data: bytes, at: int) -> None:
    for whole, kind in ((png(), "image"), (sound(0.05), "audio")):
        damaged = whole[:at] + data + whole[at + len(data) :]
        try:
            opener().opened(Media(kind, damaged, "inputs"))  # type: ignore[arg-type]
        except MediaRefused as error:
            assert error.param == "inputs"


def test_nothing_is_opened_but_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("something was opened")

    Image.init()
    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr("builtins.open", refused)
    monkeypatch.setattr(Path, "open", refused)
    for kind in ("image", "audio", "video"):
        for source in (str(secret), f"file://{secret}", "http://127.0.0.1:9/a", str(secret).encode(), f"data:{secret}"):
            with pytest.raises(BackendError):
                found = opener().opened(Media(kind, source, "inputs"))
                assert isinstance(found, Media)
                read_frames(found, 4, 1)


# --------------------------------------------------------------------------- sounds


def test_sounds_are_decoded_at_the_models_rate_and_counted_together() -> None:
    heard = opener(48_000).opened([Media("audio", b64(sound(1.0)), "inputs[0]")])
    assert isinstance(heard, list)
    assert len(heard[0]) == pytest.approx(48_000, abs=100)
    with pytest.raises(MediaRefused, match=r"`inputs\[2\]`.*longer") as refused:
        opener(seconds=2.5).opened([Media("audio", sound(1.0), f"inputs[{number}]") for number in range(3)])
    assert refused.value.too_large


def test_numbers_are_sounds() -> None:
    wave = opener().opened(Wave([0.0, 0.5] * 4000, 8000, "inputs"))
    assert isinstance(wave, np.ndarray)
    assert len(wave) == pytest.approx(16_000, abs=50)
    same = opener().opened(Wave([0.0, 0.5], 16_000, "inputs"))
    assert isinstance(same, np.ndarray)
    assert same.tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    "samples", [[], ["a"], [[0.0], [1.0]], [[0.0], [1.0, 2.0]], [None], [1e40], [0.0, {}], [10**400]]
)
def test_what_is_no_row_of_numbers_is_refused(samples: list[object]) -> None:
    with np.errstate(over="ignore"), pytest.raises(Invalid, match="`inputs` must be a list of"):
        opener().opened(Wave(samples, 16_000, "inputs"))  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0, -1, 10**9])
def test_rates_that_no_sound_has_are_refused(rate: int) -> None:
    with pytest.raises(MediaRefused):
        opener().opened(Wave([0.0] * 10, rate, "inputs"))


# --------------------------------------------------------------------------- videos


def test_frames_are_taken_evenly() -> None:
    frames = read_frames(Media("video", mp4(12), "inputs"), 4, 3)
    assert [frame.shape for frame in frames] == [(32, 48, 3)] * 4
    brightness = [int(frame.mean()) for frame in frames]
    assert brightness == sorted(brightness)
    assert brightness[-1] > brightness[0] + 100


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"#EXTM3U\n/etc/passwd", "no video of an accepted kind"),
        (b"ffconcat version 1.0\nfile /etc/passwd", "no video of an accepted kind"),
        (b"", "no video of an accepted kind"),
        (mp4()[:400], "cannot be read|holds no video|fewer"),
        (mp4(3), "fewer than the 8 frames"),
        (b"\0\0\0\x18ftypmp42" + bytes(300), "cannot be read|holds no video"),
    ],
)
def test_what_is_no_video_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(MediaRefused, match=complaint):
        read_frames(Media("video", data, "inputs"), 8, 1)


def test_frames_too_large_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MAX_PIXELS", 48 * 32 * 4 - 4)
    with pytest.raises(MediaRefused, match="too large together") as refused:
        read_frames(Media("video", mp4(), "inputs"), 4, 1)
    assert refused.value.too_large
    assert media.MAX_PIXELS == 64_000_000
