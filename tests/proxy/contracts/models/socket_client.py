"""A client of the socket, each of whose messages is held to the schema of its kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import aiohttp
from aiohttp import WSMsgType, web

from backends.types import Json
from proxy.app import build_app
from proxy.keys import EVENTS
from proxy.lifecycle.engines import Create
from proxy.registry.models import Registry
from proxy.serve import make_runner
from proxy.settings import Settings
from tests.contracts.schema import conforms
from tests.support import ScriptedBackend, serve_running

# JSON, which the schemas check.
Message: TypeAlias = dict[str, Any]

NOTHING = Registry()
# Importing what loads models takes long where the machine is busy.
PATIENCE = 60


@dataclass
class Client:
    """An open socket. heard: what came, in order; audio and heartbeats aside, tests say what they wait for."""

    ws: aiohttp.ClientWebSocketResponse
    heard: list[Message] = field(default_factory=list)

    async def say(self, kind: str, data: dict[str, Json] | None = None, **envelope: Json) -> None:
        """Send a message."""
        await self.ws.send_json({"v": 1, "t": kind, "data": data or {}, **envelope})

    async def hello(self, after: int | None = None) -> Message:
        """Say hello; the welcome."""
        await self.say("session.hello", None if after is None else {"resume": {"seq": after}}, id="hello")
        return await self.until("session.welcome")

    async def next(self) -> Message:
        """The next message but for heartbeats."""
        async with asyncio.timeout(PATIENCE):
            while True:
                got = await self.ws.receive()
                assert got.type is WSMsgType.TEXT, (got.type, self.ws.close_code, self.heard[-3:])
                message: Message = got.json()
                conforms("models", f"ws/{message['t']}", message)
                if message["t"] != "session.heartbeat":
                    self.heard.append(message)
                    return message

    async def until(self, kind: str) -> Message:
        """The next message of a kind; an error that is not waited for fails the test."""
        while True:
            message = await self.next()
            if message["t"] == kind:
                return message
            assert message["t"] != "error", message

    async def closed(self) -> int:
        """Read to the end; the close code."""
        async with asyncio.timeout(PATIENCE):
            while (await self.ws.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
                pass
        return self.ws.close_code or 0


@dataclass
class World:
    """A served door. url: of HTTP; app: for what happens behind it."""

    url: str
    app: web.Application
    http: aiohttp.ClientSession

    @asynccontextmanager
    async def open(self, sid: str | None = None, **options: Any) -> AsyncIterator[Client]:
        """A socket of a session, or of none. options: of aiohttp's ws_connect."""
        path = "/ws" if sid is None else f"/ws/{sid}"
        async with self.http.ws_connect(self.url + path, **options) as ws:
            yield Client(ws)

    @asynccontextmanager
    async def greeted(self, sid: str | None = None, after: int | None = None) -> AsyncIterator[Client]:
        """The same, having said hello."""
        async with self.open(sid) as client:
            await client.hello(after)
            yield client

    async def session(self, config: dict[str, Json] | None = None, key: str | None = None) -> str:
        """A new session's id."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with self.http.post(f"{self.url}/api/sessions", json=config or {}, headers=headers) as answer:
            assert answer.status == 201, await answer.text()
            return str((await answer.json())["session_id"])

    async def deserted(self) -> None:
        """Wait until nobody listens any more."""
        async with asyncio.timeout(PATIENCE):
            while self.app[EVENTS].listeners:  # noqa: ASYNC110 - a count that announces nothing
                await asyncio.sleep(0.01)


@asynccontextmanager
async def world(registry: Registry = NOTHING, create: Create | None = None, **settings: object) -> AsyncIterator[World]:
    """The whole door, served. create: makes the backends; none are needed for what needs no model."""
    create = create or ScriptedBackend(lambda _: ()).create
    app = build_app(Settings.model_validate(settings), registry, create)
    async with serve_running(app, make_runner(app)) as url, aiohttp.ClientSession() as http:
        yield World(url, app, http)
