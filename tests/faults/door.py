"""The whole door on a real socket, raw clients of it, and a look at what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit

import psutil
from aiohttp import web

import backends
from backends.base import EngineSpec, HealthRules, ModelSpec, Timeouts
from proxy.app import build_app
from proxy.keys import TRAFFIC
from proxy.lifecycle.engines import Create
from proxy.registry.models import ModelEntry, Registry
from proxy.serve import make_runner
from proxy.settings import Settings
from tests.backends.remote.rig import Answer
from tests.faults.ledger import Entry, Ledger
from tests.faults.scripted_engine import Said
from tests.support import serve_running

PATIENT = Timeouts(connect=5, first_byte=30, idle=30)
SOON = Timeouts(connect=1, first_byte=1, idle=1)
"""For engines that hang."""
STEADFAST = HealthRules(failures=1_000_000, first_pause=0.01, longest_pause=0.01)
"""For faults in the middle of answers: an engine is asked again, whatever it did."""
CHAT = "/v1/chat/completions"
SAFE = {"X-Switchboard-Retry": "safe"}
USER = {"Authorization": "Bearer any"}
LOST_SECONDS = 20.0


def registry_of(*urls: str, timeouts: Timeouts = PATIENT, health: HealthRules = STEADFAST) -> Registry:
    """One text model on one engine that is served at these URLs."""
    engine = EngineSpec(name="engine", kind="vllm", urls=urls, timeouts=timeouts, health=health)
    entry = ModelEntry(
        name="m",
        engine="engine",
        spec=ModelSpec(source="m"),
        task="text",
        aliases=("org/model",),
        policy="round_robin",  # so that it is known who gets which request
    )
    return Registry(engines={"engine": engine}, models=(entry,), defaults={"text": "m"})


@dataclass
class Asking:
    """A request that was sent, and its client's connection."""

    entry: Entry
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    begun: float = field(default_factory=time.monotonic)
    came: bytes = b""

    async def until(self, mark: bytes) -> None:
        """Read until this has come."""
        async with asyncio.timeout(LOST_SECONDS):
            while mark not in self.came:
                data = await self.reader.read(65536)
                assert data, self.came
                self.came += data

    async def rest(self) -> Entry:
        """Read to the end."""
        try:
            async with asyncio.timeout(LOST_SECONDS):
                while data := await self.reader.read(1 << 20):
                    self.came += data
        except (TimeoutError, ConnectionError):
            pass  # what came so far decides
        finally:
            self.writer.close()
        self.entry.close(self.came, time.monotonic() - self.begun)
        return self.entry

    def leave(self, how: str = "close") -> None:
        """Go: "close", "reset", or "half" (nothing more will be sent, and something might still be read)."""
        self.entry.leave()
        if how == "half":
            self.writer.write_eof()
            return
        if how == "reset":
            connection = self.writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Door:
    """A served door. app: what is served, where it is in this process."""

    url: str
    ledger: Ledger
    seed: int
    words: int = 12
    app: web.Application = field(default_factory=web.Application)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    async def begin(
        self,
        *,
        stream: bool = True,
        frames: Callable[[Said], Iterable[bytes]] = lambda said: said.frames,
        headers: Mapping[str, str] | None = None,
        by: str | None = None,
        ask: str | None = None,
        more: Mapping[str, object] | None = None,
        window: int | None = None,
        again: bool = False,
    ) -> Asking:
        """Send a chat request.

        frames: the events it should get; by: another way to the door; ask: its id, again: which was sent before; more: fields
        of the body; window: how many bytes the client takes without reading.
        """
        said = self.said(ask)
        entry = Entry(said.ask, tuple(frames(said))) if stream else Entry(said.ask, body=said.whole)
        self.ledger.enter(entry, again=again)
        sent = {"model": "m", "messages": [{"role": "user", "content": said.ask}], "stream": stream, **(more or {})}
        reader, writer = await connect(by or self.url, window)
        writer.write(post(CHAT, json.dumps(sent).encode(), headers))
        return Asking(entry, reader, writer)

    async def begin_chat(self) -> Asking:
        """Ask the chat endpoint, in a chat of the request's id."""
        said = self.said()
        entry = self.ledger.enter(Entry(said.ask, body=said.text.encode()))
        sent = json.dumps({"messages": [{"role": "user", "content": said.ask}]}).encode()
        reader, writer = await connect(self.url)
        writer.write(post(f"/api/ai/huggingface/org/model/chat?chat_id={said.ask}", sent, USER))
        return Asking(entry, reader, writer)

    async def kept(self, ask: str) -> tuple[str, bool] | None:
        """What is kept of a chat's answer, and whether as complete; None where nothing is, not even the question."""
        fields = "".join(f"{name}: {value}\r\n" for name, value in USER.items())
        raw = await get(self.url, f"/api/ai/chats/{ask}", fields)
        if Answer(raw).status == 404:
            return None
        question, answer = json.loads(Answer(raw).body)["messages"]
        assert question["content"] == ask
        return answer["content"], answer["complete"]

    def said(self, ask: str | None = None) -> Said:
        """What a sound engine answers to a request, a new one if none is named."""
        # As long as all others: where a fault strikes may be counted in bytes.
        return Said(self.seed, ask or f"ask-{next(self.numbers):05}", "m", self.words)

    async def ask(self, **how: object) -> Entry:
        """Send a chat request and read its answer to the end; as begin() takes it."""
        return await (await self.begin(**how)).rest()  # type: ignore[arg-type]

    async def burst(self, number: int, **how: object) -> list[Entry]:
        """So many at once."""
        return await asyncio.gather(*(self.ask(**how) for _ in range(number)))

    async def shows(self, name: str, value: float, *, or_more: bool = False) -> None:
        """Wait until a metric's values sum up to this."""
        async with asyncio.timeout(LOST_SECONDS):
            while (shown := await self.metric(name)) != value and not (or_more and shown > value):  # noqa: ASYNC110 - a figure that announces nothing
                await asyncio.sleep(0.005)

    async def metric(self, name: str) -> float:
        """The sum of a metric's values."""
        raw = await get(self.url, "/metrics")
        values = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", raw.decode(), re.MULTILINE)
        return sum(map(float, values))


def post(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """A JSON request; the connection ends with its answer."""
    fields = {"Host": "door", "Content-Type": "application/json", "Connection": "close", **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def connect(url: str, window: int | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to whoever is at this URL. window: bytes that it takes without reading."""
    parts = urlsplit(url)
    connection = socket.socket()
    connection.setblocking(False)
    if window is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    await asyncio.get_running_loop().sock_connect(connection, (parts.hostname, parts.port))
    return await asyncio.open_connection(sock=connection, limit=window or 1 << 20)


async def get(url: str, path: str, fields: str = "") -> bytes:
    """A whole answer, head included. fields: more header lines."""
    return await exchange(url, f"GET {path} HTTP/1.1\r\nHost: door\r\nConnection: close\r\n{fields}\r\n".encode())


async def exchange(url: str, sent: bytes) -> bytes:
    """What comes for these bytes until it is a whole answer, or the server closes the connection."""
    reader, writer = await connect(url)
    came = b""
    try:
        writer.write(sent)
        async with asyncio.timeout(LOST_SECONDS):
            while not (b"\r\n\r\n" in came and Answer(came).complete) and (data := await reader.read(65536)):
                came += data
    except ConnectionError:
        pass  # what came so far is what there is
    finally:
        writer.close()
    return came


@asynccontextmanager
async def serving(
    registry: Registry,
    ledger: Ledger,
    seed: int,
    *,
    words: int = 12,
    create: Create = backends.create,
    **settings: object,
) -> AsyncIterator[Door]:
    """The door of this registry. At its end nothing is in flight, and no task and no connection of it is left."""
    tasks, connections = len(asyncio.all_tasks()), _connections()
    app = build_app(Settings.model_validate({"log_level": "error", **settings}), registry, create)
    async with serve_running(app, make_runner(app)) as url:
        yield Door(url, ledger, seed, words, app)
        await eventually(lambda: not +app[TRAFFIC].in_flight)
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
    await eventually(lambda: _connections() <= connections)


async def eventually(fact: Callable[[], bool], within: float = 5.0) -> None:
    """Wait for something that announces itself to nobody. Raises AssertionError."""
    deadline = time.monotonic() + within
    while not fact():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)


def _connections() -> int:
    """Open sockets of this process."""
    return len(psutil.Process().net_connections("inet"))
