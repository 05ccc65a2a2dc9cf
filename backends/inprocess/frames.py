"""Messages on a stream between two processes, each behind its length."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator

from backends.inprocess.wire import pack, unpack

LENGTH = struct.Struct(">Q")


class Frames:
    """One end of the stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def post(self, data: bytes) -> None:
        """Send a packed message; never waits."""
        self._writer.write(LENGTH.pack(len(data)))
        self._writer.write(data)

    async def send(self, value: object) -> None:
        """Send a message and wait while the other end is slow. Raises ConnectionError when it is gone."""
        self.post(pack(value))
        await self._writer.drain()

    async def received(self) -> AsyncIterator[object]:
        """The messages of the other end, until it is gone."""
        while True:
            try:
                (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
                data = await self._reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            yield unpack(data)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
