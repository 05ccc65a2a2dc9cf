"""The balancer of compose/scale.yaml, run before two servers that do as the tests say; where HAProxy is at hand."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.docker.stacks import ROOT
from tests.support import serve_running

CONFIGURATION = (ROOT / "compose" / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")
HAPROXY = shutil.which("haproxy")
pytestmark = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not at hand (apt-get install haproxy)")


@dataclass
class Proxy:
    """Stands for one proxy: says its name, streams two events and waits in between, is ready until told otherwise."""

    name: str
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    is_ready: bool = True

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/ready", self.ready)
        app.router.add_get("/stream", self.stream)
        app.router.add_route("*", "/{rest:.*}", self.say)
        return app

    async def ready(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.is_ready else 503)

    async def say(self, _: web.Request) -> web.Response:
        return web.Response(text=self.name)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Name": self.name})
        await response.prepare(request)
        await response.write(b"data: first\n\n")
        await self.go_on.wait()
        await response.write(b"data: last\n\n")
        return response


def local(configuration: str, door: int, servers: list[str]) -> str:
    """The stack's configuration, on this machine: addresses in place of Docker's names, nothing else."""
    lines = "\n".join(f"    server s{number} {server}" for number, server in enumerate(servers))
    found = configuration.replace("bind :8080", f"bind 127.0.0.1:{door}")
    found = found.replace("    server-template proxy 16 proxy:8080", lines)
    return found.replace(" resolvers docker resolve-prefer ipv4 init-addr none", "").replace("inter 2s", "inter 100ms")


@pytest.fixture
async def proxies() -> list[Proxy]:
    return [Proxy("a"), Proxy("b")]


@pytest.fixture
async def door(proxies: list[Proxy], tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the balancer, with both servers in use."""
    assert HAPROXY is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(serve_running(proxy.app())) for proxy in proxies]
        path = tmp_path / "haproxy.cfg"
        path.write_text(local(CONFIGURATION, port, [url.removeprefix("http://") for url in urls]))
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(HAPROXY, "-db", "-f", str(path), stdout=quiet, stderr=quiet)
        try:
            client = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))
            await until(client, {proxy.name for proxy in proxies})
            yield client
        finally:
            process.terminate()
            await process.wait()


async def ask(client: aiohttp.ClientSession, path: str = "/v1/models", **headers: str) -> str:
    async with client.get(path, headers=headers) as response:
        return await response.text()


async def until(client: aiohttp.ClientSession, names: set[str]) -> None:
    """Wait until these proxies, and no others, answer what anyone may answer."""
    for _ in range(200):
        with suppress(aiohttp.ClientConnectionError):
            if {await ask(client) for _ in range(4)} == names:
                return
        await asyncio.sleep(0.05)
    pytest.fail(f"never answered by {names} alone")


async def test_events_pass_one_by_one(door: aiohttp.ClientSession, proxies: list[Proxy]) -> None:
    async with door.get("/stream") as response:
        assert await response.content.readuntil(b"\n\n") == b"data: first\n\n"
        for proxy in proxies:
            proxy.go_on.set()
        assert await response.content.read() == b"data: last\n\n"


async def test_a_proxy_that_drains_gets_nothing_new_and_ends_what_it_has(
    door: aiohttp.ClientSession, proxies: list[Proxy]
) -> None:
    async with door.get("/stream") as response:
        (drains,) = (proxy for proxy in proxies if proxy.name == response.headers["X-Name"])
        (stays,) = (proxy for proxy in proxies if proxy is not drains)
        drains.is_ready = False
        await until(door, {stays.name})
        drains.go_on.set()
        assert (await response.content.read()).endswith(b"data: last\n\n")


async def test_a_keys_sessions_are_all_with_one_proxy(door: aiohttp.ClientSession) -> None:
    homes = set()
    for number in range(20):
        key = f"Bearer key-{number}"
        home = await ask(door, "/api/sessions", Authorization=key)
        homes.add(home)
        for path, more in [
            ("/api/sessions/s/models/config", {}),
            ("/ws/s", {}),
            ("/infer", {"X-Session-Id": "s"}),
            ("/asr?session_id=s", {}),
        ]:
            assert await ask(door, path, Authorization=key, **more) == home
    assert homes == {"a", "b"}


async def test_the_balancer_says_itself_that_it_lives(door: aiohttp.ClientSession) -> None:
    assert await ask(door, "/health") == '{"status": "ok"}'


async def test_the_stacks_own_configuration_is_taken(tmp_path: Path) -> None:
    assert HAPROXY is not None
    assert re.search(r"^    server-template proxy 16 proxy:8080$", CONFIGURATION, re.MULTILINE)
    path = ROOT / "compose" / "haproxy" / "haproxy.cfg"
    process = await asyncio.create_subprocess_exec(HAPROXY, "-c", "-f", str(path))
    assert await process.wait() == 0
