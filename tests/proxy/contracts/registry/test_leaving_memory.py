"""Models that are served no more leave the memory: those who were there before are served, and nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import aiohttp
import pytest

from backends.base import ModelSpec, Report
from backends.types import Event, Request
from tests.proxy.contracts.registry.conftest import Body, Client, Open, script
from tests.support import ScriptedBackend

ASK: Body = {"model_id": "m", "prompt": "p"}
EMPTY: Body = {"success": True, "cached_models": {}, "cached_pipelines": [], "total_cached": 0}


class Gated(ScriptedBackend):
    """Notes its steps; loads and answers go on when a test says so."""

    def __init__(self) -> None:
        super().__init__(script)
        self.steps: list[str] = []
        self.loads, self.answers = asyncio.Event(), asyncio.Event()
        self.loads.set()
        self.answers.set()

    async def load(self, model: ModelSpec, report: Report) -> None:
        self.steps.append("load")
        await self.loads.wait()

    async def unload(self, model: ModelSpec) -> None:
        self.steps.append("unload")

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        self.steps.append("run")
        await self.answers.wait()
        async for event in super().run(model, request):
            yield event
        self.steps.append("ran")


@pytest.fixture
def backend() -> Gated:
    return Gated()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - a fact that announces nothing
            await asyncio.sleep(0.005)


async def empty(ask: Client) -> None:
    """Wait until nothing is in memory."""
    async with asyncio.timeout(10):
        while await ask("GET", "/cache") != (200, EMPTY):  # noqa: ASYNC110 - a fact that announces nothing
            await asyncio.sleep(0.02)


async def removed(ask: Client) -> None:
    """Wait until the model is no longer registered."""
    async with asyncio.timeout(10):
        while (await ask("GET", "/models/m"))[0] != 404:  # noqa: ASYNC110 - a fact that announces nothing
            await asyncio.sleep(0.01)


async def test_a_removed_model_is_out_of_memory_in_each_way(ask: Client, backend: Gated) -> None:
    await ask.add("m", "summarization")
    for task in ("summarization", "text2text-generation"):
        assert (await ask("POST", "/pipeline", {"model_id": "m", "task": task, "inputs": "t"}))[0] == 200
    assert (await ask("GET", "/cache"))[1]["cached_pipelines"] == ["m_summarization", "m_text2text-generation"]
    assert (await ask("DELETE", "/models/m"))[0] == 200
    assert await ask("GET", "/cache") == (200, EMPTY)
    assert backend.steps[-2:] == ["unload", "unload"]


async def test_requests_that_run_end_before_their_model_leaves(ask: Client, backend: Gated) -> None:
    await ask.add("m")
    backend.answers.clear()
    running = asyncio.create_task(ask("POST", "/generate", ASK))
    await until(lambda: "run" in backend.steps)
    removing = asyncio.create_task(ask("DELETE", "/models/m"))
    await removed(ask)
    assert not removing.done()
    assert (await ask("POST", "/generate", ASK))[0] == 404
    backend.answers.set()
    assert (await running)[1]["response"] == "bright and full"
    assert (await removing)[0] == 200
    assert backend.steps == ["load", "run", "ran", "unload"]


@pytest.mark.parametrize("patient", [True, False])
async def test_removed_while_it_loads_it_does_not_stay(ask: Client, backend: Gated, *, patient: bool) -> None:
    await ask.add("m")
    backend.loads.clear()
    asked = [asyncio.create_task(ask("POST", "/generate", ASK)), asyncio.create_task(ask("POST", "/models/m/load"))]
    await until(lambda: backend.steps)
    removing = asyncio.create_task(ask("DELETE", "/models/m"))
    await removed(ask)
    if not patient:
        removing.cancel()
        await asyncio.gather(removing, return_exceptions=True)
    backend.loads.set()
    assert [(await each)[0] for each in asked] == [200, 200]
    if patient:
        assert (await removing)[0] == 200
        assert await ask("GET", "/cache") == (200, EMPTY)
    await until(lambda: backend.steps == ["load", "run", "ran", "unload"])
    await empty(ask)


async def test_removed_while_it_is_loaded_anew_it_does_not_stay(ask: Client, backend: Gated) -> None:
    await ask.add("m")
    await ask("POST", "/models/m/load")
    backend.loads.clear()
    reloading = asyncio.create_task(ask("POST", "/models/m/load", {"force_reload": True}))
    await until(lambda: len(backend.steps) == 3)
    removing = asyncio.create_task(ask("DELETE", "/models/m"))
    await removed(ask)
    backend.loads.set()
    assert [(await reloading)[0], (await removing)[0]] == [200, 200]
    assert await ask("GET", "/cache") == (200, EMPTY)


@pytest.mark.parametrize(
    "change", [{"status": "retired"}, {"model_type": "summarization"}], ids=["retired", "of another type"]
)
async def test_what_is_served_otherwise_or_not_at_all_leaves(ask: Client, change: dict[str, str]) -> None:
    await ask.add("m")
    await ask("POST", "/models/m/load")
    assert (await ask("PUT", "/models/m", change))[0] == 200
    await empty(ask)


async def test_what_another_proxy_removes_leaves_here(opened: Open, ask: Client) -> None:
    async with opened() as url, aiohttp.ClientSession() as http:
        other = Client(http, url)
        await ask.add("m")
        assert (await other("POST", "/models/m/load"))[0] == 200
        assert (await ask("DELETE", "/models/m"))[0] == 200
        await empty(other)
