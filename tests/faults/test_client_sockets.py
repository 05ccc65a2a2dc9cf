"""WebSockets of clients that do not read, may not come in, or send frames that are none."""

from __future__ import annotations

import asyncio
import json
import struct

import pytest

from proxy.events.values import LoadStarted
from proxy.keys import EVENTS
from proxy.registry.models import Registry
from tests.backends.remote.rig import Answer
from tests.faults.door import Door, connect, eventually, serving
from tests.faults.ledger import Ledger

NOTHING = Registry()
HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: door\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{fields}\r\n"
)
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


class Socket:
    """A client of a few lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, door: Door, fields: str = "", window: int | None = None) -> tuple[Socket, Answer]:
        """The answer to a handshake, and what it may have opened."""
        reader, writer = await connect(door.url, window)
        writer.write(HANDSHAKE.format(fields=fields).encode())
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer), Answer(head)

    async def frame(self) -> tuple[int, bytes]:
        """The next frame but for pings: its kind, and what it holds."""
        kind = PING
        async with asyncio.timeout(5):
            while kind == PING:
                first, size = await self.reader.readexactly(2)
                kind = first & 15
                form = {126: ">H", 127: ">Q"}.get(size)
                if form is not None:
                    (size,) = struct.unpack(form, await self.reader.readexactly(struct.calcsize(form)))
                payload = await self.reader.readexactly(size)
        return kind, payload

    async def hello(self) -> None:
        """Be greeted."""
        self.writer.write(framed(TEXT, json.dumps({"v": 1, "t": "session.hello", "data": {}}).encode()))
        assert json.loads((await self.frame())[1])["t"] == "session.welcome"


def framed(kind: int, payload: bytes) -> bytes:
    """A frame as clients send it: masked, by zeros."""
    size = len(payload)
    if size < 126:
        length = bytes([size | 128])
    else:
        length = b"\xfe" + struct.pack(">H", size) if size < 65536 else b"\xff" + struct.pack(">Q", size)
    return bytes([kind | 128]) + length + bytes(4) + payload


async def test_c15_subscriber_never_reads(ledger: Ledger, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.http.websocket.GOODBYE_SECONDS", 0.1)
    news = LoadStarted(model_id="m" * 20_000, model_type="asr")
    async with serving(NOTHING, ledger, seed) as door:
        events = door.app[EVENTS]
        deaf, _ = await Socket.open(door, window=4096)
        deaf.writer.write(framed(TEXT, b'{"v":1,"t":"session.hello","data":{}}'))
        quick, _ = await Socket.open(door)
        await quick.hello()
        await eventually(lambda: events.listeners == 2)
        told = 0
        while events.listeners == 2 and told < 5000:
            events.publish(news)
            assert json.loads((await quick.frame())[1])["data"]["model_id"] == news.model_id
            told += 1
        assert events.listeners == 1, "whoever does not read is let go"
        events.publish(news)
        assert (await quick.frame())[0] == TEXT
        deaf.writer.transport.abort()
        quick.writer.transport.abort()
        await eventually(lambda: events.listeners == 0)
    ledger.note("let go; the other heard everything")


async def test_c16_sockets_that_may_not_be(ledger: Ledger, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.http.websocket.PING_SECONDS", 0.2)
    monkeypatch.setattr("proxy.http.websocket.GOODBYE_SECONDS", 0.1)
    key = "Authorization: Bearer key\r\n"
    refused = {"": 401, "Authorization: Bearer other\r\n": 401, f"{key}Origin: https://evil.example\r\n": 403}
    async with serving(NOTHING, ledger, seed, api_keys="key") as door:
        for fields, status in refused.items():
            socket, answer = await Socket.open(door, fields)
            assert answer.status == status, fields
            socket.writer.close()

        big, answer = await Socket.open(door, key)
        assert answer.status == 101
        await big.hello()
        big.writer.write(framed(BINARY, b"x" * 5_000_000))
        kind, said = await big.frame()
        assert (kind, struct.unpack(">H", said[:2])) == (CLOSE, (1009,))
        big.writer.close()

        dribbling, _ = await Socket.open(door, key)
        for byte in framed(TEXT, b'{"v":1,"t":"session.hello","data":{}}'):
            dribbling.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert json.loads((await dribbling.frame())[1])["t"] == "session.welcome"
        dribbling.writer.write(framed(TEXT, b"never ended")[:-3])
        async with asyncio.timeout(5):
            await dribbling.reader.read()
        dribbling.writer.close()
    ledger.note("403 for a foreign page, 401 without a key, 1009 for 5 MB")
    ledger.note("a dribbled frame is read, one without an end is not waited for")
