"""What a backend tells of its engine's work: silence counts while there is work, and only then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from backends.base import Timeouts
from backends.errors import TimedOut
from backends.remote.client import RemoteClient
from tests.backends.remote.rig import (
    DONE,
    ERROR_EVENT,
    Engine,
    Peer,
    Script,
    chunked,
    engine_running,
    engine_spec,
    head,
    json_answer,
    proxy_running,
    replay,
    sse_answer,
)

QUICK = Timeouts(first_byte=0.4, idle=0.4)  # looked at each 0.05 s


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def client_of(script: Script, timeouts: Timeouts = QUICK) -> AsyncIterator[tuple[Engine, RemoteClient]]:
    async with engine_running(script) as engine:
        client = RemoteClient(engine_spec(engine.url, timeouts=timeouts))
        yield engine, client
        await client.close()


async def answered(client: RemoteClient, method: str = "POST") -> None:
    async with client.request(method, "/") as response:
        await response.read(1000)


async def given_up(client: RemoteClient, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await answered(client)


async def test_an_engine_that_answers_is_not_silent() -> None:
    async with client_of(replay(json_answer(b"{}"))) as (_, client):
        for _ in range(5):
            await answered(client)
            await asyncio.sleep(0.02)
        pulse = client.pulse(now())
        assert (pulse.in_flight, pulse.sent) == (0, 5)
        assert pulse.silence < 0.02


async def test_silence_adds_up_over_callers_who_leave_one_after_the_other() -> None:
    async with client_of(replay(then="hang")) as (_, client):
        for _ in range(3):
            await given_up(client, 0.1)
            await asyncio.sleep(0.1)
        assert 0.25 < client.pulse(now()).silence < 0.4


async def test_questions_about_the_engine_break_no_silence() -> None:
    async def script(peer: Peer) -> None:
        if engine.requests[-1].startswith(b"GET"):
            await peer.send(json_answer(b"{}"))
        else:
            await peer.gone()

    async with client_of(script) as (engine, client):
        await given_up(client, 0.1)
        await answered(client, "GET")
        assert client.pulse(now()).silence > 0.09
        assert client.pulse(now()).sent == 1


async def test_one_stream_that_flows_speaks_for_the_whole_engine() -> None:
    async def script(peer: Peer) -> None:
        if len(engine.requests) == 1:
            await peer.gone()
        await peer.send(head(b"Transfer-Encoding: chunked\r\n"))
        for _ in range(8):
            await peer.send(chunked(b"data: x\n\n"))
            await asyncio.sleep(0.04)
        await peer.send(chunked(DONE) + b"0\r\n\r\n")

    async with client_of(script) as (engine, client):
        silent = asyncio.ensure_future(answered(client))
        await engine.asked.wait()
        flowing = asyncio.ensure_future(answered(client))
        await flowing
        assert client.pulse(now()).silence < 0.2
        with pytest.raises(TimedOut) as caught:
            await silent
        assert caught.value.waited == 0.4


async def test_time_in_which_our_own_loop_stood_still_is_not_the_engines() -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await go.wait()
        await peer.send(json_answer(b"{}"))

    async with client_of(script, Timeouts(first_byte=0.8, idle=0.8)) as (engine, client):
        asking = asyncio.ensure_future(answered(client))
        await engine.asked.wait()
        await asyncio.sleep(0.2)
        time.sleep(1.5)  # noqa: ASYNC251 - as a stopped process does
        await asyncio.sleep(0.2)
        assert client.pulse(now()).silence < 0.5
        go.set()
        await asking


async def test_cutting_ends_streams_with_an_error_of_their_own_and_closes_their_connections() -> None:
    begun = sse_answer(b"data: x\n\n", end=b"")
    async with engine_running(replay(begun, then="hang")) as engine, proxy_running(engine.url) as proxy:
        reader, writer = await proxy.connect()
        await reader.readuntil(b"data: x\n\n")
        proxy.client.cut(TimedOut("The engine is gone."))
        assert await reader.read() == b"\r\n" + chunked(ERROR_EVENT) + b"0\r\n\r\n"
        writer.close()
        await asyncio.wait_for(engine.quiet.wait(), 1)
        assert proxy.client.pulse(now()).in_flight == 0


async def test_an_engine_that_closes_a_connection_by_itself_is_told_of_and_what_we_close_is_not() -> None:
    dropped: list[bool] = []

    async def script(peer: Peer) -> None:
        if engine.requests[-1].startswith(b"POST"):
            await peer.send(json_answer(b"{}", fields=b"Connection: close\r\n"))
        else:
            await peer.send(json_answer(b"{}"))
            peer.writer.close()

    async with client_of(script) as (engine, client):
        client.on_drop(lambda: dropped.append(True))
        await answered(client)
        assert not dropped
        await answered(client, "GET")
        await asyncio.wait_for(engine.quiet.wait(), 1)
        await asyncio.sleep(0.01)
        assert dropped == [True]
