"""Bytes that are passed on hold slots, too: of the engine that serves them, until their last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import ClientSession

from backends.base import EngineSpec, ModelSpec
from proxy.registry.models import ModelEntry, Registry, Target
from tests.engines.vllm_double import Fault, VllmDouble
from tests.support import serve_app

BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}


def registry(*engines: VllmDouble, limit: int = 1, replicas: bool = False) -> Registry:
    """A model on these engines of one slot each; or on one engine that has them as its replicas."""
    if replicas:
        specs = {"gpu": EngineSpec(name="gpu", kind="vllm", urls=tuple(engine.url for engine in engines))}
    else:
        specs = {
            f"gpu{number}": EngineSpec(name=f"gpu{number}", kind="vllm", urls=(engine.url,))
            for number, engine in enumerate(engines)
        }
    spec = ModelSpec(source="served", name="m")
    targets = tuple(Target(engine=name, spec=spec) for name in specs) if len(specs) > 1 else ()
    entry = ModelEntry(name="m", engine=next(iter(specs)), spec=spec, task="text", targets=targets)
    return Registry(engines=specs, models=(entry,), limits=dict.fromkeys(specs, limit))


@asynccontextmanager
async def streaming(url: str) -> AsyncIterator[aiohttp.ClientResponse]:
    """An answer of which the first bytes have come."""
    async with ClientSession() as http, http.post(f"{url}/v1/chat/completions", json=BODY) as answer:
        assert answer.status == 200
        await answer.content.readany()
        yield answer
        answer.close()


async def asked(url: str) -> bytes:
    """A whole answer."""
    async with ClientSession() as http, http.post(f"{url}/v1/chat/completions", json=BODY) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


async def waiting(url: str, count: int) -> None:
    """Return when that many wait."""
    async with asyncio.timeout(5), ClientSession() as http:
        while True:
            async with http.get(f"{url}/metrics") as answer:
                figures = await answer.text()
            told = [line for line in figures.splitlines() if line.startswith("switchboard_waiting{")]
            if sum(float(line.split()[-1]) for line in told) == count:
                return


async def test_a_stream_holds_its_slot_until_its_client_leaves() -> None:
    async with VllmDouble("served") as engine, serve_app(registry(engine)) as url:
        engine.fail(Fault(kind="hang", after=1))
        async with streaming(url):
            other = asyncio.create_task(asked(url))
            await waiting(url, 1)
            assert len(engine.requests) == 1
        assert b"[DONE]" in await other
        assert len(engine.requests) == 2


async def test_two_replicas_have_twice_the_slots() -> None:
    async with (
        VllmDouble("served") as one,
        VllmDouble("served") as two,
        serve_app(registry(one, two, replicas=True)) as url,
    ):
        for engine in (one, two):
            engine.fail(Fault(kind="hang", after=1))
        async with streaming(url), streaming(url):
            assert (len(one.requests), len(two.requests)) == (1, 1)
            other = asyncio.create_task(asked(url))
            await waiting(url, 1)
        assert b"[DONE]" in await other


async def test_a_model_of_two_engines_goes_to_the_one_with_room() -> None:
    async with VllmDouble("served") as one, VllmDouble("served") as two, serve_app(registry(one, two)) as url:
        for engine in (one, two):
            engine.fail(Fault(kind="hang", after=1))
        async with streaming(url), streaming(url):
            assert (len(one.requests), len(two.requests)) == (1, 1)
            other = asyncio.create_task(asked(url))
            await waiting(url, 1)
        assert b"[DONE]" in await other
        await waiting(url, 0)
