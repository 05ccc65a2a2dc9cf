"""`kill -9` of the whole proxy while sessions are made and changed: whatever was answered is there afterwards."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession

from proxy.storage.location import Location, Postgres
from tests.command import Command, serving

ROUNDS = 3
CLIENTS = 4
START_SECONDS = 60


def proxy(location: Location, directory: Path) -> AbstractAsyncContextManager[Command]:
    """A proxy in a process of its own; killed at the end, if it is not dead already."""
    return serving(
        SWITCHBOARD_DATA=str(directory),
        SWITCHBOARD_DATABASE_URL=location.url if isinstance(location, Postgres) else f"sqlite:///{location.path}",
        SWITCHBOARD_MAX_SESSIONS="1000000",
    )


async def write(url: str, acknowledged: dict[str, int], begun: dict[str, int]) -> None:
    """Make sessions, and change each again and again, until the proxy is gone. What was answered is noted."""
    try:
        async with ClientSession(url) as http:
            while True:
                async with http.post("/api/sessions") as response:
                    sid = (await response.json())["session_id"]
                acknowledged[sid] = begun[sid] = 1
                for tokens in range(2, 12):
                    begun[sid] = tokens
                    change = {"mt": {"parameters": {"max_new_tokens": tokens, "max_input_length": tokens}}}
                    async with http.put(f"/api/sessions/{sid}/models/config", json=change) as response:
                        assert response.status == 200
                        await response.read()
                    acknowledged[sid] = tokens
    except ClientError:
        return


async def parameters(http: ClientSession, sid: str) -> dict[str, Any]:
    async with http.get(f"/api/sessions/{sid}/models/config") as response:
        assert response.status == 200, (sid, await response.text())
        config = await response.json()
    return dict(config["mt"]["parameters"])


async def test_what_was_answered_outlives_the_proxy(location: Location, tmp_path: Path) -> None:
    acknowledged: dict[str, int] = {}
    begun: dict[str, int] = {}
    for _ in range(ROUNDS):
        async with proxy(location, tmp_path) as command:
            clients = [asyncio.create_task(write(command.url, acknowledged, begun)) for _ in range(CLIENTS)]
            async with asyncio.timeout(START_SECONDS):
                while not acknowledged:  # noqa: ASYNC110 - the first answer, which announces itself nowhere
                    await asyncio.sleep(0.01)
            await asyncio.sleep(random.uniform(0, 0.3))
            command.signal(signal.SIGKILL)
            await asyncio.gather(*clients)
    async with proxy(location, tmp_path) as command, ClientSession(command.url) as http:
        for sid, least in acknowledged.items():
            found = await parameters(http, sid)
            # A change is there whole or not at all; one that was not answered may be either.
            tokens = 1 if found["max_new_tokens"] == 512 else found["max_new_tokens"]
            assert least <= tokens <= begun[sid]
            assert tokens == 1 or found["max_input_length"] == tokens
