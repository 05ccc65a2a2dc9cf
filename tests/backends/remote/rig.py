"""A scripted engine and a small proxy on raw sockets, so that real bytes flow engine -> relay -> client."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import cast

from backends.base import EngineSpec, RelayOutcome, RelayRequest, Timeouts
from backends.errors import BackendError
from backends.remote.client import RemoteClient
from backends.remote.relay import relay

ERROR_EVENT = b'data: {"error": "told in-band"}\n\n'
DONE = b"data: [DONE]\n\n"
_SIZE_LINE = re.compile(rb"([0-9a-f]+)\r\n")
CLOSE = b"Connection: close\r\n"


def chunked(*payloads: bytes) -> bytes:
    """The payloads as one chunk each, without the last chunk."""
    return b"".join(b"%x\r\n%b\r\n" % (len(payload), payload) for payload in payloads)


def head(fields: bytes = b"", status: bytes = b"200 OK", content_type: bytes = b"text/event-stream") -> bytes:
    """A response head."""
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\n%b\r\n" % (status, content_type, fields)


def sse_answer(*events: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A whole chunked event stream, head included."""
    return head(b"Transfer-Encoding: chunked\r\n") + chunked(*events) + end


def json_answer(body: bytes, status: bytes = b"200 OK", fields: bytes = b"") -> bytes:
    """A whole answer with a length."""
    return head(b"Content-Length: %d\r\n%b" % (len(body), fields), status, b"application/json") + body


# --------------------------------------------------------------------------- engine


@dataclass
class Peer:
    """The proxy's connection as the engine's script sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *parts: bytes) -> None:
        """Write each part by itself, and give it time to leave."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def gone(self) -> None:
        """Wait until the proxy has closed the connection."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        """Close with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Engine:
    """A raw-socket engine. script: answers one request; the connection closes when it says so or leaves `keep` false."""

    script: Script
    url: str = ""
    keep: bool = True
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        self.open += 1
        self.quiet.clear()
        try:
            while request := await _read_request(reader):
                self.requests.append(request)
                self.asked.set()
                await self.script(Peer(reader, writer))
                if not self.keep:
                    break
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.open -= 1
            if not self.open:
                self.quiet.set()


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    try:
        request = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    length = re.search(rb"\r\ncontent-length: (\d+)", request, re.IGNORECASE)
    return request + (await reader.readexactly(int(length[1])) if length else b"")


@asynccontextmanager
async def engine_running(script: Script, *, keep: bool = True) -> AsyncIterator[Engine]:
    """An engine on a free port; ends with every connection to it closed by the proxy."""
    engine = Engine(script, keep=keep)
    server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
    engine.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield engine
    finally:
        server.close()
        if engine.open:
            await asyncio.wait_for(engine.quiet.wait(), 5)


def replay(*parts: bytes, then: str = "") -> Script:
    """A script that sends `parts` and then keeps the connection, or "close"s, "reset"s or "hang"s."""

    async def script(peer: Peer) -> None:
        await peer.send(*parts)
        if then == "close":
            peer.writer.close()
        elif then == "reset":
            peer.reset()
        elif then == "hang":
            await peer.gone()

    return script


# --------------------------------------------------------------------------- proxy


class SocketSink(asyncio.Protocol):
    """One client's connection: whatever the client sends starts one relay; its going away cancels it."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = False
        self._task: asyncio.Task[None] | None = None
        self.chunked_ok = proxy.chunked_ok

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance
        self._transport.set_write_buffer_limits(high=self._proxy.high_water)

    def data_received(self, data: bytes) -> None:
        self._task = asyncio.get_running_loop().create_task(self._relay())
        self._proxy.tasks.append(self._task)
        self._proxy.asked.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def _relay(self) -> None:
        proxy = self._proxy
        outcome = RelayOutcome()
        proxy.outcomes.append(outcome)
        try:
            await relay(proxy.client, proxy.request, self, outcome, write_timeout=proxy.write_timeout)
        except (BackendError, ConnectionError) as error:
            proxy.errors.append(error)
            self._transport.abort()
        else:
            self._transport.close()

    # ------------------------------------------------------------------- Sink

    @property
    def gone(self) -> bool:
        return self._gone

    @property
    def full(self) -> bool:
        buffered = self._transport.get_write_buffer_size()
        self._proxy.most_buffered = max(self._proxy.most_buffered, buffered)
        return not self._writable.is_set()

    def start(self, status: int, headers: Sequence[tuple[str, str]], *, stream: bool) -> None:
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._transport.write(f"HTTP/1.1 {status} OK\r\n{fields}\r\n".encode())

    def write(self, data: bytes) -> None:
        self._proxy.writes += 1
        self._transport.write(data)

    async def drained(self) -> None:
        await self._writable.wait()
        if self._gone:
            raise ConnectionResetError("client gone")

    def abort(self) -> None:
        self._transport.abort()


@dataclass
class Proxy:
    """What a test sees of the relaying side."""

    client: RemoteClient
    request: RelayRequest
    chunked_ok: bool = True
    high_water: int | None = None
    write_timeout: float = 10.0
    port: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    outcomes: list[RelayOutcome] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    most_buffered: int = 0
    writes: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self) -> Answer:
        """One client: what it got until the connection closed."""
        number = len(self.tasks)
        reader, writer = await self.connect()
        try:
            raw = await asyncio.wait_for(reader.read(), 20)
        except ConnectionError:
            raw = b""
        finally:
            writer.close()
        await asyncio.wait([self.tasks[number]])
        return Answer(raw)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client that has asked and not read yet."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"go")
        return reader, writer

    @property
    def outcome(self) -> RelayOutcome:
        """The last relay's."""
        return self.outcomes[-1]


@dataclass
class Answer:
    """What came over a client's socket."""

    raw: bytes

    @property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0].lower()

    @property
    def status(self) -> int:
        return int(self.head.split(b" ")[1]) if self.raw else 0

    @property
    def body(self) -> bytes:
        """The payload; a chunked one is decoded as far as it goes."""
        return self._decoded()[0]

    @property
    def complete(self) -> bool:
        """Whether the framing says that the body is whole and nothing follows."""
        return self._decoded()[1]

    def _decoded(self) -> tuple[bytes, bool]:
        rest = self.raw.partition(b"\r\n\r\n")[2]
        if b"transfer-encoding: chunked" in self.head:
            payload, position = [], 0
            while chunk := _SIZE_LINE.match(rest, position):
                size, start = int(chunk[1], 16), chunk.end()
                position = start + size + 2
                if rest[start + size : position] != b"\r\n":
                    break
                payload.append(rest[start : start + size])
                if size == 0:
                    return b"".join(payload), position == len(rest)
            return b"".join(payload), False
        length = re.search(rb"content-length: (\d+)", self.head)
        return rest, length is None or len(rest) == int(length[1])


def chat_request(
    *, terminal: Iterable[bytes] = (b"data: [DONE]",), method: str = "POST", choices: int = 0
) -> RelayRequest:
    """A streamed chat request; its body is of no interest to a scripted engine."""
    return RelayRequest(
        method=method,
        path="/v1/chat/completions",
        body=b'{"model": "m", "stream": true}' if method == "POST" else b"",
        headers=(("Content-Type", "application/json"),),
        stream=True,
        terminal=tuple(terminal),
        error_event=lambda error: ERROR_EVENT,
        choices=choices,
    )


def engine_spec(
    url: str, key: str | None = None, timeouts: Timeouts | None = None, round_ms: float = 20.0
) -> EngineSpec:
    """A spec of kind vllm."""
    return EngineSpec(name="e1", kind="vllm", urls=(url,), key=key, timeouts=timeouts or Timeouts(), round_ms=round_ms)


@contextmanager
def dead_port() -> Iterator[str]:
    """The URL of a port that refuses connections for as long as nobody else gets it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@contextmanager
def black_hole() -> Iterator[str]:
    """The URL of a port whose accept queue is full: a further connection is never answered."""
    with socket.socket() as sock, socket.socket() as first, socket.socket() as second:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@asynccontextmanager
async def proxy_running(
    url: str,
    *,
    request: RelayRequest | None = None,
    timeouts: Timeouts | None = None,
    key: str | None = None,
    chunked_ok: bool = True,
    high_water: int | None = None,
    write_timeout: float = 10.0,
    round_ms: float = 20.0,
) -> AsyncIterator[Proxy]:
    """A proxy on a free port that relays every client's request as `request`; ends without connections or tasks."""
    proxy = Proxy(
        RemoteClient(engine_spec(url, key=key, timeouts=timeouts, round_ms=round_ms)),
        request or chat_request(),
        chunked_ok,
        high_water,
        write_timeout,
    )
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SocketSink(proxy), "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        if proxy.tasks:
            await asyncio.wait(proxy.tasks, timeout=5)
        assert proxy.client.pool.in_flight == 0
        await proxy.client.close()


@asynccontextmanager
async def relaying(script: Script, *, keep: bool = True, **options: object) -> AsyncIterator[tuple[Engine, Proxy]]:
    """An engine with a proxy in front of it."""
    async with engine_running(script, keep=keep) as engine, proxy_running(engine.url, **options) as proxy:  # type: ignore[arg-type]
        yield engine, proxy
