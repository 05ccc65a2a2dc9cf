"""Sockets of the command itself: its event loop, its log, and how it leaves."""

from __future__ import annotations

import asyncio
import signal

import aiohttp

from tests.command import serving


async def test_sigterm_says_goodbye_to_listeners_and_waits_for_none_of_them() -> None:
    async with (
        serving(SWITCHBOARD_DRAIN_SECONDS="20") as command,
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{command.url}/ws") as quiet,
        http.ws_connect(f"{command.url}/ws") as mute,
    ):
        await quiet.send_json({"v": 1, "t": "session.hello"})
        assert (await quiet.receive_json())["t"] == "session.welcome"
        command.signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            for socket in (quiet, mute):
                assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
                assert socket.close_code == 1001
            assert await command.rest() == 0
    lines = [line for line in command.lines if line.get("path") == "/ws"]
    assert [(line["status"], str(line["error"])[:4]) for line in lines] == [(101, "1001")] * 2
    assert "requests cut at the drain deadline" not in {line["event"] for line in command.lines}


async def test_a_client_that_vanishes_is_noticed() -> None:
    async with serving() as command, aiohttp.ClientSession() as http:
        async with http.ws_connect(f"{command.url}/ws") as socket:
            await socket.send_json({"v": 1, "t": "session.hello"})
            await socket.receive_json()
            socket._response.connection.transport.abort()  # type: ignore[union-attr]
        line = await command.until("request")
        assert (line["path"], line["status"]) == ("/ws", 499)
