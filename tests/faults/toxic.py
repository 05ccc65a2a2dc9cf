"""A TCP proxy that does to bytes what networks do: toxics after Toxiproxy's, for each direction, replayed from a seed."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeAlias

_READ = 65536


class Cut(Exception):
    """The connection ends here. reset: without a goodbye."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__(reset)
        self.reset = reset


Pieces: TypeAlias = Iterator[tuple[float, bytes]]
Flow: TypeAlias = Callable[[bytes], Pieces]
"""Bytes in, pieces out: (seconds to wait first, bytes). Raises Cut."""


class Toxic(Protocol):
    """What happens to one direction of a connection."""

    def flow(self, rng: random.Random) -> Flow:
        """Its work on a new connection."""


@dataclass(frozen=True)
class Latency:
    """Everything comes so many seconds later, give or take `jitter`."""

    seconds: float
    jitter: float = 0.0

    def flow(self, rng: random.Random) -> Flow:
        def pieces(data: bytes) -> Pieces:
            yield max(0.0, self.seconds + rng.uniform(-self.jitter, self.jitter)), data

        return pieces


@dataclass(frozen=True)
class BlackHole:
    """Bytes are taken and go nowhere; the connection stays."""

    def flow(self, rng: random.Random) -> Flow:
        return lambda data: iter(())


@dataclass(frozen=True)
class Limit:
    """After so many bytes the connection is closed, or reset."""

    size: int
    reset: bool = False

    def flow(self, rng: random.Random) -> Flow:
        left = self.size

        def pieces(data: bytes) -> Pieces:
            nonlocal left
            if left > 0:
                yield 0.0, data[:left]
            left -= len(data)
            if left <= 0:
                raise Cut(reset=self.reset)

        return pieces


@dataclass(frozen=True)
class Slicer:
    """Pieces of `size` bytes, give or take `jitter`, each in a packet of its own."""

    size: int
    jitter: int = 0
    seconds: float = 0.0

    def flow(self, rng: random.Random) -> Flow:
        def pieces(data: bytes) -> Pieces:
            position = 0
            while position < len(data):
                size = max(1, self.size + rng.randint(-self.jitter, self.jitter))
                yield self.seconds, data[position : position + size]
                position += size

        return pieces


@dataclass(frozen=True)
class Bandwidth:
    """So many bytes a second."""

    rate: float

    def flow(self, rng: random.Random) -> Flow:
        step = max(1, int(self.rate / 50))

        def pieces(data: bytes) -> Pieces:
            for position in range(0, len(data), step):
                piece = data[position : position + step]
                yield len(piece) / self.rate, piece

        return pieces


class ToxicProxy:
    """Forwards TCP from a port of its own to `target`, both on loopback. up: towards the target, down: back; may be changed."""

    def __init__(self, target: int, seed: int, *, up: Sequence[Toxic] = (), down: Sequence[Toxic] = ()) -> None:
        self.up = up
        self.down = down
        self.connections = 0
        self._target = target
        self._rng = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> ToxicProxy:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, family=socket.AF_INET)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """The base URL of the HTTP server behind it."""
        return f"http://127.0.0.1:{self.port}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        ways = ((reader, far_writer, self.up), (far_reader, writer, self.down))
        for source, sink, toxics in ways:
            task = asyncio.create_task(self._pass_on(source, sink, toxics, (writer, far_writer)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        toxics: Sequence[Toxic],
        ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        flows = [toxic.flow(self._rng) for toxic in toxics]
        try:
            while data := await source.read(_READ):
                for seconds, piece in _through(flows, data):
                    if seconds:
                        await asyncio.sleep(seconds)
                    sink.write(piece)
                    await sink.drain()
                    # A packet of its own: the next write must not join this one.
                    await asyncio.sleep(0)
            sink.close()
        except Cut as cut:
            for end in ends:
                _hang_up(end, reset=cut.reset)
        except ConnectionError:
            for end in ends:
                end.transport.abort()
        finally:
            self._writers.discard(sink)


def _through(flows: Sequence[Flow], data: bytes) -> Pieces:
    """The pieces that come out behind the last toxic."""
    if not flows:
        yield 0.0, data
        return
    first, *others = flows
    for seconds, piece in first(data):
        for number, (more, smaller) in enumerate(_through(others, piece)):
            yield (seconds if number == 0 else 0.0) + more, smaller


def _hang_up(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if reset:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()
