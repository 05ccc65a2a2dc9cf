"""A way to a server that can be shut, opened and made silent while connections are up."""

from __future__ import annotations

import asyncio
import socket
from types import TracebackType


class Gate:
    """Forwards TCP from a port of its own to `target`, both on loopback. mute: bytes are taken and go nowhere."""

    def __init__(self, target: int) -> None:
        self.mute = False
        self._target = target
        self._shut = False
        self._pipes: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Gate:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, family=socket.AF_INET)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shut()
        self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def shut(self) -> None:
        """Cut all connections; new ones are cut at once."""
        self._shut = True
        for pipe in self._pipes:
            pipe.transport.abort()
        await asyncio.sleep(0)

    def open(self) -> None:
        """Let connections through again."""
        self._shut = False

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._shut:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._pipes |= {writer, far_writer}
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._forward(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if not self.mute:
                    sink.write(data)
        except ConnectionError:
            pass
        finally:
            self._pipes.discard(sink)
            sink.transport.abort()
