"""Requests find a replica that can take them, whatever the others do."""

from __future__ import annotations

from aiohttp import ClientSession

from backends.base import EngineSpec, ModelSpec
from backends.types import JsonObject
from proxy.registry.models import ModelEntry, Registry, Target
from tests.backends.remote.rig import dead_port
from tests.engines.vllm_double import VllmDouble
from tests.support import serve_app


def registry(*urls: str) -> Registry:
    """A model on one engine of several replicas."""
    engine = EngineSpec(name="gpu", kind="vllm", urls=urls)
    entry = ModelEntry(name="m", engine="gpu", spec=ModelSpec(source="served", name="m"), task="text")
    return Registry(engines={"gpu": engine}, models=(entry,))


async def ask(url: str, **fields: object) -> JsonObject:
    """A chat's answer."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], **fields}
    async with ClientSession() as session, session.post(f"{url}/v1/chat/completions", json=body) as answer:
        assert answer.status == 200, await answer.text()
        told: JsonObject = await answer.json()
        return told


async def test_another_replica_takes_over_from_one_that_refuses() -> None:
    with dead_port() as dead:
        async with VllmDouble("served") as engine, serve_app(registry(dead, engine.url)) as url:
            for _ in range(4):
                assert (await ask(url))["model"] == "served"
            assert len(engine.requests) == 4


async def test_where_no_replica_can_be_reached_the_answer_says_so() -> None:
    with dead_port() as one, dead_port() as other:
        async with serve_app(registry(one, other)) as url, ClientSession() as session:
            body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
            async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                assert answer.status == 503
                assert "Retry-After" in answer.headers
                assert "cannot be reached" in (await answer.json())["error"]["message"]


async def test_each_engine_is_asked_for_the_model_by_the_name_that_it_knows() -> None:
    async with VllmDouble("big") as one, VllmDouble("large") as other:
        engines = {
            "a": EngineSpec(name="a", kind="vllm", urls=(one.url,)),
            "b": EngineSpec(name="b", kind="vllm", urls=(other.url,)),
        }
        targets = (
            Target(engine="a", spec=ModelSpec(source="big", name="m")),
            Target(engine="b", spec=ModelSpec(source="large", name="m")),
        )
        entry = ModelEntry(name="m", engine="a", spec=targets[0].spec, task="text", targets=targets)
        async with serve_app(Registry(engines=engines, models=(entry,))) as url:
            for _ in range(4):
                await ask(url)
        assert {request.json["model"] for request in one.requests} == {"big"}
        assert {request.json["model"] for request in other.requests} == {"large"}
