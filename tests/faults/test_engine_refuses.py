"""Engines that refuse, speak gibberish, or cannot end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backends.remote.rig import CLOSE, chunked, json_answer
from tests.faults.door import registry_of, serving
from tests.faults.ledger import Ledger
from tests.faults.process import MB, apart
from tests.faults.scripted_engine import (
    LAST_CHUNK,
    STREAM_HEAD,
    Script,
    ScriptedEngine,
    Turn,
    event,
    raw,
    refusal,
    sound,
)

BOUND = 5
"""MB that the door may grow by, whatever an engine sends."""


async def test_e15_too_many_requests(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    engine.script = refusal(b"429 Too Many Requests", "come back", b"Retry-After: 17\r\n")
    async with serving(registry_of(engine.url), ledger, seed) as door:
        for stream in (True, False):
            entry = await door.ask(stream=stream)
            assert (entry.ending, entry.header("Retry-After")) == ("status 429", "17")
            assert b"come back" in entry.answer.body
        engine.script = sound
        await door.ask()
    ledger.settle(engine)


def endless(start: bytes, piece: bytes) -> Script:
    """A script that never stops, but for the connection's end."""

    async def script(turn: Turn) -> None:
        await turn.peer.send(start)
        while True:
            await turn.peer.send(piece)

    return script


async def test_e16_what_is_no_http(ledger: Ledger, seed: int, engine: ScriptedEngine, tmp_path: Path) -> None:
    gibberish = (
        raw(b"\x16\x03\x01\x02\x00\x01" * 50, then="hang"),
        raw(b"HTTP/1.1 2OO Fine\r\n\r\n", then="hang"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n<html>hi!", then="hang"),
        raw(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b", then="hang"
        ),
        endless(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * MB),
        endless(b"HTTP/1.1 200 OK\r\n", b"X-Many: y\r\n" * 10_000),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        endless(STREAM_HEAD, b"5;" + b"x" * MB),
    )
    async with apart(engine.url, ledger, seed, tmp_path) as (door, memory):
        with memory:
            for script in gibberish:
                engine.script = script
                for stream in (True, False):
                    assert (await door.ask(stream=stream)).ending == "status 502"
        assert memory.grown < BOUND
    ledger.settle(engine)
    ledger.note(f"the process grew by less than {BOUND} MB")


@pytest.mark.parametrize("framed", [chunked, lambda part: part], ids=["chunked", "until close"])
async def test_e18_huge_event(
    ledger: Ledger, seed: int, engine: ScriptedEngine, tmp_path: Path, framed: Callable[[bytes], bytes]
) -> None:
    huge = event({"choices": [{"index": 0, "delta": {"content": "x" * 10 * MB}, "finish_reason": None}]})

    async def script(turn: Turn) -> None:
        start, *frames = turn.said.frames
        head = STREAM_HEAD if framed is chunked else STREAM_HEAD.replace(b"Transfer-Encoding: chunked\r\n", CLOSE)
        await turn.peer.send(head, framed(start), framed(huge), *map(framed, frames))
        await turn.peer.send(LAST_CHUNK if framed is chunked else b"")
        turn.peer.writer.close()

    async with apart(engine.url, ledger, seed, tmp_path) as (door, memory):
        engine.script = script
        with memory:
            await door.ask(frames=lambda said: (said.frames[0], huge, *said.frames[1:]))
        assert memory.grown < BOUND
    ledger.settle(engine)
    ledger.note(f"the process grew by less than {BOUND} MB")


async def test_e24_answered_before_the_body_is_read(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    engine.early = json_answer(
        b'{"error":{"message":"too long","type":"Error","param":null,"code":413}}', b"413 Too Large", CLOSE
    )
    size = 24 * MB
    async with serving(registry_of(engine.url), ledger, seed) as door:
        for stream in (True, False):
            entry = await door.ask(stream=stream, more={"padding": "x" * size})
            assert entry.ending == "status 413"
            assert b"too long" in entry.answer.body
            await engine.until(lambda: not engine.running)
        engine.early = None
        await door.ask()
    ledger.settle(engine)
    assert engine.swallowed < size
