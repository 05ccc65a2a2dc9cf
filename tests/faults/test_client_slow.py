"""Clients that take their time: to send, or to read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from backends.remote.relay import relay
from proxy.registry.models import Registry
from tests.backends.remote.rig import Answer, chunked
from tests.faults.door import connect, exchange, registry_of, serving
from tests.faults.ledger import CUT, WHOLE, Ledger
from tests.faults.process import apart
from tests.faults.scripted_engine import STREAM_HEAD, ScriptedEngine, Turn, sound
from tests.faults.toxic import Bandwidth, ToxicProxy
from tests.support import ScriptedBackend, one_model

READERS = 20
BOUND = 10
"""MB by which the door may grow for them all."""


async def test_c06_reader_stops(
    ledger: Ledger, seed: int, engine: ScriptedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = dict.fromkeys(range(READERS + 2), 0)

    async def endless(turn: Turn) -> None:
        piece = chunked(turn.said.frames[1]) * 500
        await turn.peer.send(STREAM_HEAD)
        while True:
            written[turn.number % len(written)] += len(piece)
            await turn.peer.send(piece)

    async with apart(engine.url, ledger, seed, tmp_path) as (door, memory):
        engine.script = endless
        with memory:
            readers = [await door.begin(window=4096) for _ in range(READERS)]
            for reader in readers:
                await reader.until(b"\r\n\r\n")
            await stand_still(written)
            engine.script = sound
            assert {entry.ending for entry in await door.burst(5)} == {WHOLE}
        assert memory.grown < BOUND
        for reader in readers:
            reader.leave()
        await engine.until(lambda: len(engine.left) == READERS)
    monkeypatch.setattr(relay, "__kwdefaults__", {"write_timeout": 0.3})
    engine.script = endless
    async with serving(registry_of(engine.url), ledger, seed) as door:
        frame = door.said(ask := "who stops").frames[1]
        stopped = await door.begin(ask=ask, window=4096, frames=lambda said: [frame] * 200_000)
        await stopped.until(b"\r\n\r\n")
        await engine.until(lambda: ask in engine.left)
        assert (await stopped.rest()).ending == CUT
    ledger.settle(engine)
    ledger.note(f"the process grew by less than {BOUND} MB for {READERS} who stopped")


async def stand_still(figures: dict[int, int]) -> None:
    """Wait until they grow no more."""
    before: dict[int, int] = {}
    while before != figures:
        before = dict(figures)
        await asyncio.sleep(0.2)


async def test_c07_slow_heads(
    ledger: Ledger, seed: int, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.http.server.SWEEP_SECONDS", 0.1)
    number = 500
    async with serving(registry_of(engine.url), ledger, seed, head_seconds=0.5) as door:
        slow = [await connect(door.url) for _ in range(number)]
        for _, writer in slow:
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: door\r\nX-Slow: ")
        dribbling = [asyncio.create_task(_dribble([writer for _, writer in slow]))]
        good = asyncio.ensure_future(door.burst(20))
        ends = await asyncio.gather(*(reader.read() for reader, _ in slow), return_exceptions=True)
        dribbling[0].cancel()
        await asyncio.wait(dribbling)
        assert all(end == b"" or isinstance(end, ConnectionError) for end in ends)
        assert max(entry.seconds for entry in await good) < 1
        for _, writer in slow:
            writer.close()
        await door.burst(5)
    ledger.settle(engine)
    ledger.note(f"{number} slow heads dropped at the deadline")


async def _dribble(writers: list[asyncio.StreamWriter]) -> None:
    """One more byte of each head, again and again."""
    while True:
        for writer in writers:
            writer.write(b"x")
        await asyncio.sleep(0.1)


async def test_c08_say_nothing(
    ledger: Ledger, seed: int, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, many_files: None
) -> None:
    monkeypatch.setattr("proxy.http.server.SWEEP_SECONDS", 0.1)
    number, most = 1000, 900
    registry = registry_of(engine.url)
    async with serving(registry, ledger, seed, head_seconds=2.5, max_connections=most) as door:
        silent = [await connect(door.url) for _ in range(number)]
        ends = await asyncio.gather(*(reader.read() for reader, _ in silent))
        refused = [end for end in ends if end]
        assert len(refused) == number - most
        assert {Answer(end).status for end in refused} == {503}
        for _, writer in silent:
            writer.close()
        await door.burst(5)
    ledger.settle(engine)
    ledger.note(f"of {number} silent connections {most} closed at the deadline, {number - most} refused at once")


AUDIO = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n%b\r\n'
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nhears\r\n--b--\r\n'
) % (b"RIFF" * 25_000)
UPLOAD = (
    b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: door\r\nConnection: close\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n"
) % len(AUDIO)


def left_in(directory: Path) -> list[Path]:
    """What is in it."""
    return [*directory.iterdir()]


def hearing() -> tuple[Registry, ScriptedBackend]:
    """A speech model, and what is asked of it."""
    return one_model("hears", "transcription"), ScriptedBackend(lambda _: ())


async def test_c09_slow_upload(ledger: Ledger, seed: int, temporary: Path) -> None:
    registry, backend = hearing()
    stalls, crawls = UPLOAD + AUDIO[: len(AUDIO) * 99 // 100], UPLOAD + AUDIO
    async with serving(registry, ledger, seed, create=backend.create, body_seconds=0.5) as door:
        port = int(door.url.rpartition(":")[2])
        async with ToxicProxy(port, seed) as network:
            assert Answer(await exchange(network.url, stalls)).status == 408
            network.up = (Bandwidth(1e6), Bandwidth(500))
            assert Answer(await exchange(network.url, crawls)).status == 408
    assert not backend.requests
    assert not left_in(temporary)
    ledger.note("408 for one that stalls at 99 %, and for one that comes at 500 bytes a second; no file, no work")


async def test_c10_upload_aborted(ledger: Ledger, seed: int, temporary: Path) -> None:
    registry, backend = hearing()
    async with serving(registry, ledger, seed, create=backend.create) as door:
        for tenth in range(10):
            _, writer = await connect(door.url)
            writer.write(UPLOAD + AUDIO[: len(AUDIO) * tenth // 10])
            await writer.drain()
            if tenth % 2:
                writer.transport.abort()
            writer.close()
        await door.shows("switchboard_in_flight", 0)
    assert not backend.requests
    assert not left_in(temporary)
    ledger.note("10 uploads aborted; no file, no work")
