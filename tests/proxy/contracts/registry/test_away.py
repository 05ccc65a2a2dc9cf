"""The database away: what needs rows says 503 and when to come back, everything else goes on, and all recovers by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from proxy.registry.models import Registry
from tests.gate import Gate
from tests.postgres import Cluster
from tests.proxy.contracts.registry.conftest import Body, Client
from tests.support import ScriptedBackend, serve_app

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def gate(postgres: Cluster) -> AsyncIterator[Gate]:
    async with Gate(postgres.port) as gate:
        yield gate


@pytest.fixture
async def ask(postgres: Cluster, gate: Gate, registry: Registry, backend: ScriptedBackend) -> AsyncIterator[Client]:
    """A client of a door whose database is behind the gate."""
    url = postgres.create().replace(f":{postgres.port}/", f":{gate.port}/")
    async with serve_app(registry, backend.create, database_url=url) as door, aiohttp.ClientSession() as http:
        yield Client(http, door)


async def test_what_needs_rows_is_unavailable_and_the_rest_goes_on(ask: Client, gate: Gate) -> None:
    await ask.add("owner/known")
    await gate.shut()
    new = {"model_id": "owner/new", "name": "n", "model_type": "translation"}
    needing: list[tuple[str, str, Body | None]] = [
        ("GET", "/models", None),
        ("GET", "/models/owner/known", None),
        ("POST", "/models", new),
        ("PUT", "/models/owner/known", {"name": "n"}),
        ("DELETE", "/models/owner/known", None),
        ("GET", "/statistics", None),
        ("GET", "/model-types", None),
        ("POST", "/generate", {"model_id": "owner/unknown", "prompt": "p"}),
    ]
    for method, path, body in needing:
        async with ask.http.request(method, f"{ask.url}/api/huggingface{path}", json=body) as answer:
            told = await answer.json()
            assert (answer.status, told["success"], answer.headers["Retry-After"]) == (503, False, "2"), path
    for name in ("owner/known", "house/chat"):
        async with ask.http.post(f"{ask.url}/v1/chat/completions", json={"model": name, **CHAT}) as answer:
            assert answer.status == 200
        assert (await ask("POST", "/generate", {"model_id": name, "prompt": "p"}))[0] == 200
    assert (await ask("GET", "/cache"))[0] == (await ask("GET", "/dependencies"))[0] == 200
    gate.open()
    for _ in range(100):
        status, told = await ask("GET", "/statistics")
        if status == 200 and told["statistics"]["total_usage"] == 2:
            break
        await asyncio.sleep(0.1)
    assert told["statistics"]["total_usage"] == 2
    assert (await ask("POST", "/models", new))[0] == 200
