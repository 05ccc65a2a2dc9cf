"""Where requests go when several engines could serve them: real sockets, and engines that keep a record."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from aiohttp import ClientSession
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

import backends.tgi.backend  # noqa: F401  imported here, where no loop waits for it
from backends.base import EngineSpec, ModelSpec
from backends.types import Json
from proxy.registry.models import ModelEntry, PolicyName, Registry, Target
from tests.engines.tgi_double import TgiDouble
from tests.engines.vllm_double import Fault, Seen, VllmDouble
from tests.support import serve_app

MODEL = ModelSpec(source="served", name="m")
LONG = "You are a helpful clerk of the town of Aberystwyth. " * 40


@pytest.fixture
async def engines() -> AsyncIterator[list[VllmDouble]]:
    """Three of them."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(VllmDouble("served")) for _ in range(3)]


def replicas(engines: list[VllmDouble], policy: PolicyName = "balanced") -> Registry:
    """A model on one engine of as many replicas."""
    spec = EngineSpec(name="gpu", kind="vllm", urls=tuple(engine.url for engine in engines))
    entry = ModelEntry(name="m", engine="gpu", spec=MODEL, task="text", policy=policy)
    return Registry(engines={"gpu": spec}, models=(entry,))


def canary(engines: list[VllmDouble], *shares: tuple[float | None, int]) -> Registry:
    """A model on as many engines, each with a weight and a priority."""
    specs = {
        f"e{number}": EngineSpec(name=f"e{number}", kind="vllm", urls=(each.url,))
        for number, each in enumerate(engines)
    }
    targets = tuple(
        Target(engine=name, spec=MODEL, weight=weight, priority=priority)
        for name, (weight, priority) in zip(specs, shares, strict=True)
    )
    entry = ModelEntry(name="m", engine="e0", spec=MODEL, task="text", targets=targets)
    return Registry(engines=specs, models=(entry,))


async def ask(
    client: ClientSession, url: str, system: str, *, headers: Mapping[str, str] | None = None, **fields: Json
) -> None:
    """A chat whose answer is whole."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "hello"}]
    body = {"model": "m", "messages": messages, **fields}
    async with client.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()


def number_in(request: Seen) -> str:
    """The digit that the prompt begins with."""
    return request.body.partition(b'"content": "')[2][:1].decode()


def served(engines: list[VllmDouble]) -> list[int]:
    """How many requests each has had."""
    return [len(engine.requests) for engine in engines]


async def test_prompts_that_begin_alike_go_to_one_replica_and_others_to_the_rest(engines: list[VllmDouble]) -> None:
    async with serve_app(replicas(engines)) as url, ClientSession() as client:
        for _ in range(5):
            for number in range(3):
                await ask(client, url, f"{number} {LONG}")

    homes = ["".join(sorted({number_in(request) for request in engine.requests})) for engine in engines]
    assert sorted(homes) == ["0", "1", "2"]


async def test_one_prompt_that_everybody_sends_at_once_is_spread(engines: list[VllmDouble]) -> None:
    async with serve_app(replicas(engines)) as url, ClientSession() as client:
        for engine in engines:
            engine.fail(*[Fault(kind="slow", after=0, seconds=0.02)] * 60)
        await asyncio.gather(*(ask(client, url, LONG, stream=True) for _ in range(60)))

    assert sum(served(engines)) == 60
    assert max(served(engines)) <= 1.5 * 60 / 3


async def test_a_session_stays_with_its_replica_whatever_it_says(engines: list[VllmDouble]) -> None:
    async with serve_app(replicas(engines)) as url, ClientSession() as client:
        for _ in range(4):
            for number in range(6):
                await ask(client, url, "short", headers={"X-Session-ID": f"by header {number}"})
                await ask(client, url, "short", prompt_cache_key=f"by field {number}")

    homes: Counter[str] = Counter()
    for engine in engines:
        homes.update(
            {
                request.headers.get("X-Session-ID") or str(request.json["prompt_cache_key"])
                for request in engine.requests
            }
        )
    assert set(homes.values()) == {1}
    assert all(served(engines))


async def test_round_robin_is_each_in_turn(engines: list[VllmDouble]) -> None:
    async with serve_app(replicas(engines, "round_robin")) as url, ClientSession() as client:
        for _ in range(6):
            await ask(client, url, LONG)

    assert served(engines) == [2, 2, 2]


async def test_an_engine_that_says_it_is_busy_with_others_requests_gets_fewer(engines: list[VllmDouble]) -> None:
    engines[0].waiting = 50
    async with serve_app(replicas(engines)) as url, ClientSession() as client:
        await told(client, url, 'switchboard_replica_figures{engine="gpu",figure="waiting",replica="gpu#1"} 50.0')
        for number in range(9):
            await ask(client, url, f"{number} {LONG}")

    assert served(engines)[0] == 0
    assert min(served(engines)[1:]) >= 3


async def test_weights_hold_and_priorities_come_first(engines: list[VllmDouble]) -> None:
    registry = canary(engines, (9.0, 0), (1.0, 0), (None, 1))
    async with serve_app(registry) as url, ClientSession() as client:
        for _ in range(50):
            await ask(client, url, LONG)
        assert abs(served(engines)[1] - 5) <= 1
        assert served(engines)[2] == 0

        async with engines[0].refusing(), engines[1].refusing():
            await ask(client, url, LONG)
        assert served(engines)[2] == 1


async def test_engines_of_two_kinds_serve_one_model_and_the_client_sees_one_dialect(engines: list[VllmDouble]) -> None:
    async with TgiDouble() as tgi:
        registry = canary(engines[:2], (1.0, 0), (1.0, 0))
        mixed = {**registry.engines, "e1": EngineSpec(name="e1", kind="tgi", urls=(tgi.url,))}
        async with (
            serve_app(replace(registry, engines=mixed)) as url,
            AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        ):
            said: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
            for _ in range(3):
                whole = await client.chat.completions.create(model="m", messages=said, max_tokens=5)
                assert (whole.model, whole.object) == ("m", "chat.completion")
                stream = await client.chat.completions.create(model="m", messages=said, max_tokens=5, stream=True)
                async for chunk in stream:
                    assert (chunk.model, chunk.object) == ("m", "chat.completion.chunk")

        counts = len(engines[0].requests), sum(request.method == "POST" for request in tgi.requests)
        assert sorted(counts) in ([2, 4], [3, 3])


async def test_which_replica_served_is_counted_and_logged(
    engines: list[VllmDouble], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    async with serve_app(replicas(engines[:2], "round_robin"), log_format="json") as url, ClientSession() as client:
        for _ in range(4):
            await ask(client, url, LONG)
        await told(client, url, 'switchboard_replica_requests_total{engine="gpu",replica="gpu#2"} 2.0')

    assert capsysbinary.readouterr().out.count(b'"replica":"gpu#2"') == 2


async def told(client: ClientSession, url: str, line: str) -> None:
    """Wait until the metrics have this line."""
    async with asyncio.timeout(5):
        while True:
            async with client.get(f"{url}/metrics") as answer:
                if line in (await answer.text()).splitlines():
                    return
            await asyncio.sleep(0.02)
