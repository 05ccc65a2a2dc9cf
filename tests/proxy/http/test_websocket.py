"""Who may open a WebSocket, how it is kept alive, and that whoever reads nothing holds nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy.errors import ApiError
from proxy.http import websocket
from proxy.http.websocket import Goodbye, bearer_of, check_origin, race
from proxy.registry.models import Registry
from proxy.settings import Settings
from tests.support import serve_app

NOTHING = Registry()
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
HELLO = b'{"v": 1, "t": "session.hello"}'


def refused(origin: str | None, host: str, *allowed: str) -> bool:
    try:
        check_origin(origin, host, allowed)
    except ApiError as error:
        assert error.status == 403
        return True
    return False


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "a:8080"),
        ("http://a:8080", "a:8080"),
        ("https://a", "a"),
        ("http://a:80", "a"),
        ("http://A", "a"),
        ("https://a:443", "a:443"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_programs_and_own_pages_may_connect(origin: str | None, host: str) -> None:
    assert not refused(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://a:8081", "a:8080"),
        ("http://b", "a"),
        ("http://a.b", "a"),
        ("http://a@b", "a"),
        ("null", "a"),
        ("", "a"),
        ("http://a:99999", "a"),
        ("file://", ""),
        ("http://a", "[::1"),
    ],
)
def test_other_pages_may_not(origin: str, host: str) -> None:
    assert refused(origin, host)


def test_unless_they_are_allowed() -> None:
    assert not refused("https://b", "a", "https://b") and refused("https://b:1", "a", "https://b")


@pytest.mark.parametrize("origin", ["b", "https://b/", "https://B", "*", "null", "ws://b", "https://b:port"])
def test_what_is_no_origin_cannot_be_allowed(origin: str) -> None:
    with pytest.raises(ValidationError, match="is no origin"):
        Settings.model_validate({"allowed_origins": f"https://a, {origin}"})


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_origin_is_answered(origin: str, host: str) -> None:
    refused(origin, host)


@given(st.text(max_size=60))
def test_a_key_of_any_letters_fits_a_subprotocol(key: str) -> None:
    coded = urlsafe_b64encode(key.encode()).decode().rstrip("=")
    assert bearer_of(f"switchboard.v1, bearer.{coded}") == f"Bearer {key}"


@given(st.text(max_size=60))
def test_any_subprotocol_is_read(offered: str) -> None:
    said = bearer_of(f"bearer.{offered}")
    assert said is not None and said.startswith("Bearer ")


async def test_a_race_ends_with_its_first_and_leaves_none_running() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("forever")

    async def goodbye() -> None:
        raise Goodbye(4000, "done")

    with pytest.raises(Goodbye):
        await race(forever(), goodbye())
    assert ended == ["forever"]


# --------------------------------------------------------------------------- on a real socket


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/ws", **options) as ws:
        yield ws


async def status(url: str, **options: Any) -> tuple[int, str]:
    """The status of a refused handshake and the code in its body."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/ws", **options) as answer:
        return answer.status, (await answer.json())["error"]["code"]


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def test_pages_of_other_sites_are_refused_before_the_upgrade() -> None:
    async with serve_app(NOTHING, allowed_origins="https://app.example") as url:
        assert await status(url, headers={**UPGRADE, "Origin": "https://evil.example"}) == (403, "FORBIDDEN")
        for origin in (url, "https://app.example"):
            async with opened(url, origin=origin) as ws:
                assert not ws.closed


async def test_a_plain_request_is_told_to_upgrade() -> None:
    async with serve_app(NOTHING) as url:
        assert await status(url) == (426, "CONFIGURATION_ERROR")
        assert await status(url, headers={**UPGRADE, "Sec-WebSocket-Version": "1"}) == (400, "CONFIGURATION_ERROR")


async def test_keys_come_as_a_header_or_as_a_subprotocol() -> None:
    key = "s3cret/+="
    coded = urlsafe_b64encode(key.encode()).decode().rstrip("=")
    async with serve_app(NOTHING, api_keys=key) as url:
        assert await status(url, headers=UPGRADE) == (401, "UNAUTHORIZED")
        wrong = {**UPGRADE, "Sec-WebSocket-Protocol": "switchboard.v1, bearer.d3Jvbmc"}
        assert await status(url, headers=wrong) == (401, "UNAUTHORIZED")
        async with opened(url, headers={"Authorization": f"Bearer {key}"}) as ws:
            assert ws.protocol is None
        async with opened(url, protocols=("switchboard.v1", f"bearer.{coded}")) as ws:
            assert ws.protocol == "switchboard.v1"


async def test_a_peer_that_gives_no_sign_of_life_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "PING_SECONDS", 0.1)
    monkeypatch.setattr(websocket, "GOODBYE_SECONDS", 0.1)
    async with serve_app(NOTHING) as url:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(5):
            rest = await reader.read()
        assert rest.startswith(b"\x89\x00")
        writer.close()
        async with opened(url) as alive:
            answering = asyncio.create_task(alive.receive())  # aiohttp answers pings while it reads
            await asyncio.sleep(0.5)
            assert not alive.closed
            answering.cancel()


async def test_a_client_that_reads_nothing_is_cut_off_whatever_is_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "STALLED_SECONDS", 0.2)
    monkeypatch.setattr(websocket, "GOODBYE_SECONDS", 0.1)
    async with serve_app(NOTHING) as url:
        parts = urlsplit(url)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(HANDSHAKE)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(20):
                while True:
                    writer.write(_text(b'{"v": 9, "t": "' + b"x" * 60000 + b'"}') * 100)
                    await writer.drain()
        writer.close()


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x82\x00\x00\x00\x00\xff\xff", 1007),  # text that is not UTF-8
        (b"\x83\x80\x00\x00\x00\x00", 1002),  # no such opcode
        (b"\xf1\x80\x00\x00\x00\x00", 1002),  # reserved bits
        (b"\x82\xff" + struct.pack(">Q", 1 << 62) + bytes(4), 1009),
    ],
)
async def test_frames_that_are_none_close_with_their_code(frame: bytes, code: int) -> None:
    async with serve_app(NOTHING) as url:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame)
        async with asyncio.timeout(8):
            head = await reader.readexactly(4)
        assert head[0] == 0x88 and struct.unpack(">H", head[2:])[0] == code
        writer.close()


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js here")
async def test_the_web_sockets_of_javascript_connect(tmp_path: Path) -> None:
    key = "s3cret"
    script = tmp_path / "client.mjs"
    script.write_text(
        """
const [url, key] = process.argv.slice(2)
const coded = Buffer.from(key).toString('base64url')
const socket = new WebSocket(url.replace('http', 'ws') + '/ws', ['switchboard.v1', 'bearer.' + coded])
socket.onopen = () => socket.send(JSON.stringify({ v: 1, t: 'session.hello', id: 'a' }))
socket.onmessage = (event) => {
  const message = JSON.parse(event.data)
  console.log(socket.protocol, message.t, message.corr)
  socket.close(1000)
}
socket.onclose = (event) => console.log(event.code, event.wasClean)
"""
    )
    async with serve_app(NOTHING, api_keys=key) as url:
        process = await asyncio.create_subprocess_exec(
            "node",
            "--experimental-websocket",
            str(script),
            url,
            key,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ},
        )
        async with asyncio.timeout(30):
            output, _ = await process.communicate()
    assert output.decode().splitlines() == ["switchboard.v1 session.welcome a", "1000 true"]


def _text(data: bytes) -> bytes:
    """A text frame as clients send it, masked with zeros."""
    return b"\x81\xfe" + struct.pack(">H", len(data)) + bytes(4) + data
