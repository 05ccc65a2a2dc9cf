"""Audio from the socket's messages to samples, as it comes: bounded on its way, and read where nothing else waits."""

from __future__ import annotations

import asyncio
import io
import threading
import wave
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import numpy as np

from backends.errors import MediaRefused
from backends.inprocess.audio import SAMPLE_RATE, Samples, decode_live
from backends.inprocess.executor import Executor

WAITING_BYTES = 1 << 18
"""Of a stream's messages, read and not yet decoded: beyond them, reading from the client pauses."""
UNHEARD_BYTES = 1 << 22
"""A container may carry so much without a sound in it."""
BLOCKS_AHEAD = 64
LOUDEST = 32_768
LOOK_SECONDS = 0.1
"""Between two looks of a waiting thread whether anybody still waits for it."""


class Inlet:
    """Bytes on their way from one writer to one reader."""

    def __init__(self) -> None:
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, data: bytes) -> None:
        """Hand data over, once there is room; after the end it goes nowhere."""
        while self._size >= WAITING_BYTES and not self._ended:
            self._room.clear()
            await self._room.wait()
        if data and not self._ended:
            self._parts.append(data)
            self._size += len(data)
            self._news.set()

    async def get(self) -> bytes:
        """The next data; none at the end."""
        while not self._parts and not self._ended:
            self._news.clear()
            await self._news.wait()
        if not self._parts:
            return b""
        data = self._parts.popleft()
        self._size -= len(data)
        self._room.set()
        return data

    def end(self) -> None:
        """Nothing follows what is on its way."""
        self._ended = True
        self._news.set()
        self._room.set()

    def close(self) -> None:
        """Nobody reads any more."""
        self._parts.clear()
        self.end()


async def pcm(inlet: Inlet) -> AsyncGenerator[Samples, None]:
    """16-bit little-endian samples, mono at 16 kHz; half a sample at the end is no sample."""
    rest = b""
    while data := await inlet.get():
        rest += data
        whole = len(rest) // 2 * 2
        samples = np.frombuffer(rest[:whole], "<i2").astype(np.float32) / np.float32(LOUDEST)
        rest = rest[whole:]
        if len(samples):
            yield samples


async def webm(inlet: Inlet, threads: Executor) -> AsyncGenerator[Samples, None]:
    """Webm with Opus, as browsers record it, decoded in one of the threads. Raises MediaRefused."""
    pipe = _Pipe(inlet)
    async with aclosing(threads.stream(lambda left: decode_live(pipe.until(left)), ahead=BLOCKS_AHEAD)) as blocks:
        async for block in blocks:
            pipe.unheard = 0
            yield np.frombuffer(block, np.float32)


def wav(samples: Samples) -> bytes:
    """The samples as a file, in 16 bits."""
    whole = (np.clip(samples, -1, 1) * (LOUDEST - 1)).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(whole.tobytes())
    return file.getvalue()


class _Pipe:
    """The inlet as a decoder's thread reads it. unheard: bytes since there was a sound."""

    def __init__(self, inlet: Inlet) -> None:
        self._inlet = inlet
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._left = threading.Event()
        self.unheard = 0

    def until(self, left: threading.Event) -> _Pipe:
        """This pipe, which ends when nobody wants what is decoded any more."""
        self._left = left
        return self

    def read(self, size: int, /) -> bytes:
        """What there is, size bytes at most; waits for some, and returns none at the end. Raises MediaRefused."""
        if not self._rest:
            self._rest = self._next()
        data, self._rest = self._rest[:size], self._rest[size:]
        self.unheard += len(data)
        if self.unheard > UNHEARD_BYTES:
            raise MediaRefused(f"{self.unheard} bytes came without any sound in them.")
        return data

    def _next(self) -> bytes:
        coming = asyncio.run_coroutine_threadsafe(self._inlet.get(), self._loop)
        while not self._left.is_set():
            with suppress(TimeoutError):
                return coming.result(LOOK_SECONDS)
        coming.cancel()
        return b""
