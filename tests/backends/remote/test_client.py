from __future__ import annotations

import asyncio

import pytest

from backends.base import Timeouts
from backends.errors import Broken, Rejected, TimedOut
from backends.remote import pool as pools
from backends.remote.client import RemoteClient
from backends.types import Chat
from tests.backends.remote.rig import chunked, engine_running, engine_spec, head, json_answer, replay

CHAT = Chat(messages=({"role": "user", "content": "hi"},))
DONE = b"data: [DONE]\n\n"
HELLO = b'data: {"choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": null}]}\n\n'
STOP = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}\n\n'


async def test_an_answer_is_read_and_its_connection_kept() -> None:
    async with engine_running(replay(json_answer(b'{"a": 1}'))) as engine:
        client = RemoteClient(engine_spec(engine.url + "/prefix/"))
        for _ in range(3):
            async with client.request("POST", "/x?y=1", b"body", (("X-A", "b"),)) as response:
                assert (response.status, await response.read(100)) == (200, b'{"a": 1}')
                assert ("content-type", "application/json") in response.headers
        assert engine.connections == 1
        assert engine.requests[0].startswith(b"POST /prefix/x?y=1 HTTP/1.1\r\n")
        assert repr(client) == f"<RemoteClient e1 <Pool {engine.url}/prefix/ busy=0 idle=1>>"
        await client.close()


async def test_leaving_before_the_end_closes_the_connection() -> None:
    async with engine_running(replay(head(b"Transfer-Encoding: chunked\r\n"), chunked(b"a"), then="hang")) as engine:
        client = RemoteClient(engine_spec(engine.url))
        async with client.request("GET", "/") as response:
            assert await anext(response.body) == b"a"
        await asyncio.wait_for(engine.quiet.wait(), 1)
        assert client.pool.in_flight == 0


@pytest.mark.parametrize(("then", "kind"), [("close", Broken), ("hang", TimedOut)])
async def test_a_body_cut_short_raises_where_it_is_read(then: str, kind: type[Exception]) -> None:
    async with engine_running(replay(json_answer(b"12345")[:-1], then=then), keep=False) as engine:
        client = RemoteClient(engine_spec(engine.url))
        async with client.request("GET", "/", timeouts=Timeouts(first_byte=0.2, idle=0.2)) as response:
            with pytest.raises(kind):
                await response.read(100)


async def test_what_came_before_broken_framing_is_read_before_it_raises() -> None:
    sent = head(b"Transfer-Encoding: chunked\r\n") + chunked(b"sound") + b"what?\r\n"
    async with engine_running(replay(sent, then="hang")) as engine:
        client = RemoteClient(engine_spec(engine.url))
        async with client.request("GET", "/") as response:
            assert await anext(response.body) == b"sound"
            with pytest.raises(Broken):
                await anext(response.body)
        await client.close()


async def test_an_error_status_is_raised_on_entering() -> None:
    async with engine_running(replay(json_answer(b"no", b"424 Failed"))) as engine:
        client = RemoteClient(engine_spec(engine.url))
        with pytest.raises(Rejected) as caught:
            await client.request("GET", "/").__aenter__()
        assert (caught.value.status, caught.value.body) == (424, b"no")
        await client.close()


async def test_an_answer_beyond_the_limit_is_broken() -> None:
    async with engine_running(replay(json_answer(b"x" * 100))) as engine:
        client = RemoteClient(engine_spec(engine.url))
        async with client.request("GET", "/") as response:
            with pytest.raises(Broken, match="longer than 50"):
                await response.read(50)
        await client.close()


async def test_a_slow_reader_is_read_ahead_for_only_so_far() -> None:
    async with engine_running(replay(json_answer(b"x" * 5_000_000))) as engine:
        client = RemoteClient(engine_spec(engine.url))
        async with client.request("GET", "/") as response:
            first = await anext(response.body)
            await asyncio.sleep(0.1)
            rest = [part async for part in response.body]
            assert len(first) + sum(map(len, rest)) == 5_000_000
        await client.close()


async def test_idle_connections_go_before_the_engine_closes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "KEPT_IDLE", 0.1)
    async with engine_running(replay(json_answer(b"{}"))) as engine:
        client = RemoteClient(engine_spec(engine.url, timeouts=Timeouts(idle=0.4)))
        async with client.request("POST", "/") as response:
            await response.read(10)
        assert client.pool.idle == 1
        await asyncio.wait_for(engine.quiet.wait(), 1)
        assert client.pool.idle == 0


async def test_closing_ends_what_is_in_progress() -> None:
    async with engine_running(replay(then="hang")) as engine:
        client = RemoteClient(engine_spec(engine.url))
        task = asyncio.ensure_future(client.request("GET", "/").__aenter__())
        await engine.asked.wait()
        await client.close()
        with pytest.raises(Broken):
            await task


@pytest.mark.parametrize("url", ["", "ftp://h", "h:80", "http://", "http://h/?a=b"])
def test_a_base_url_is_http_or_nothing(url: str) -> None:
    with pytest.raises(ValueError, match="base URL"):
        RemoteClient(engine_spec(url))
