"""Webm as it comes, cut into whatever pieces, is heard as the whole file is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backends
from backends.inprocess.audio import Samples, decode, decode_live
from tests.backends.whisper.containers import encode, streamed

SAMPLE = Path(backends.__file__).parent / "nano" / "samples" / "1_en-us.wav"
KINDS = {
    "as browsers record": {},
    "short frames": {"frame_ms": 20},
    "short clusters": {"frame_ms": 20, "cluster_ms": 100},
    "matroska": {"muxer": "matroska", "frame_ms": 40},
}


@cache
def made(kind: str) -> tuple[bytes, Samples]:
    """A recording, and what is heard of it as a whole."""
    spoken = decode(SAMPLE.read_bytes(), max_seconds=9)
    file = encode("webm", spoken) if kind == "a file" else streamed(spoken, **KINDS[kind])  # type: ignore[arg-type]
    return file, decode(file, max_seconds=9)


class Pieces:
    """The file in pieces of these sizes, again and again. read: bytes that were taken."""

    def __init__(self, file: bytes, sizes: list[int]) -> None:
        self._pieces = self._cut(file, sizes)
        self._rest = b""
        self.taken = 0

    def read(self, size: int, /) -> bytes:
        """At most a piece."""
        self._rest = self._rest or next(self._pieces, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        self.taken += len(data)
        return data

    @staticmethod
    def _cut(file: bytes, sizes: list[int]) -> Iterator[bytes]:
        begin = 0
        while begin < len(file):
            for size in sizes:
                yield file[begin : begin + size]
                begin += size


@pytest.mark.parametrize("kind", ["a file", *KINDS])
@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=9))
def test_however_it_is_cut(kind: str, sizes: list[int]) -> None:
    file, whole = made(kind)
    heard = np.frombuffer(b"".join(decode_live(Pieces(file, sizes))), np.float32)
    assert len(heard) == len(whole)
    assert np.array_equal(heard, whole)


@pytest.mark.parametrize("kind", ["a file", *KINDS])
def test_it_is_heard_as_soon_as_it_comes(kind: str) -> None:
    source = Pieces(made(kind)[0], [100])
    next(decode_live(source))
    assert source.taken < 1500
