from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest

from backends.base import Timeouts
from tests.backends.remote.rig import (
    DONE,
    Peer,
    Script,
    black_hole,
    chunked,
    head,
    json_answer,
    proxy_running,
    relaying,
    replay,
)

HELLO = b"data: hello\n\n"
STREAM_HEAD = head(b"Transfer-Encoding: chunked\r\n")
PHASES = {
    "before the head": replay(then="hang"),
    "before the first event": replay(STREAM_HEAD, then="hang"),
    "mid-stream": replay(STREAM_HEAD, chunked(HELLO), then="hang"),
    "unary": replay(json_answer(b"{}" * 100)[:-50], then="hang"),
}


@pytest.mark.parametrize("phase", PHASES)
async def test_a_client_that_leaves_closes_the_engines_connection_at_once(phase: str) -> None:
    async with relaying(PHASES[phase]) as (engine, proxy):
        reader, writer = await proxy.connect()
        await engine.asked.wait()
        if phase in {"mid-stream", "unary"}:
            await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        await asyncio.wait_for(engine.quiet.wait(), 1)
        (task,) = proxy.tasks
        await asyncio.wait([task])
        assert task.cancelled()
        assert (proxy.client.pool.idle, proxy.client.pool.in_flight) == (0, 0)
        if phase == "mid-stream":
            assert proxy.outcome.status == 200


async def test_a_client_that_leaves_while_the_connection_opens_sends_nothing() -> None:
    with black_hole() as url:
        async with proxy_running(url, timeouts=Timeouts(connect=30)) as proxy:
            _, writer = await proxy.connect()
            await proxy.asked.wait()
            writer.transport.abort()
            await asyncio.wait(proxy.tasks, timeout=1)
            assert proxy.tasks[0].cancelled()
            assert proxy.client.pool.in_flight == 0


async def leave(writer: asyncio.StreamWriter) -> None:
    """Close a client's connection with bytes unread, and wait until it is closed."""
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


def flood(chunks: int) -> Script:
    """A stream as fast as it is taken: `chunks` events of 16 KiB."""
    event = b"data: " + b"x" * 16_384 + b"\n\n"

    async def script(peer: Peer) -> None:
        await peer.send(STREAM_HEAD)
        for _ in range(chunks):
            await peer.send(chunked(event))
        await peer.send(chunked(DONE) + b"0\r\n\r\n")

    return script


async def test_a_slow_reader_holds_the_engine_back_and_harms_nobody() -> None:
    async with relaying(flood(2000), high_water=65536) as (_, proxy):
        slow_reader, slow_writer = await proxy.connect()
        await slow_reader.readexactly(10)
        started = time.monotonic()
        answer = await proxy.ask()
        assert answer.complete
        assert time.monotonic() - started < 10
        assert proxy.most_buffered < 4_000_000
        await leave(slow_writer)


async def test_a_paused_engine_is_not_a_silent_one() -> None:
    async with relaying(flood(1000), high_water=65536, timeouts=Timeouts(idle=0.2)) as (_, proxy):
        reader, writer = await proxy.connect()
        await reader.readexactly(10)
        await asyncio.sleep(1)
        rest = await reader.read()
        assert rest.endswith(b"\r\n0\r\n\r\n")
        assert DONE in rest[-100:]
        assert proxy.outcome.error is None
        writer.close()


async def test_a_client_that_takes_nothing_for_too_long_is_given_up() -> None:
    async with relaying(flood(2000), high_water=65536, write_timeout=0.3) as (engine, proxy):
        reader, writer = await proxy.connect()
        await reader.readexactly(10)
        await asyncio.wait_for(engine.quiet.wait(), 5)
        await asyncio.wait(proxy.tasks, timeout=1)
        assert proxy.tasks[0].done()
        await leave(writer)
