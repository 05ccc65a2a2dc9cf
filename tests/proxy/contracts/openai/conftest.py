"""A door in front of a double of vLLM."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from openai import AsyncOpenAI

from backends.base import EngineSpec, HealthRules, ModelSpec, Timeouts
from proxy.registry.models import ModelEntry, Registry
from tests.engines.vllm_double import VllmDouble
from tests.support import serve_app

AT_ONCE = HealthRules(first_pause=0.001, longest_pause=0.001)


def remote(kind: str, url: str, served_as: str, key: str | None = None) -> Registry:
    """A model `tiny` with the alias `org/tiny-alias` on one remote engine with short timeouts, tried again at once."""
    timeouts = Timeouts(connect=2, first_byte=0.5, idle=0.5)
    engine = EngineSpec(name="engine", kind=kind, urls=(url,), key=key, timeouts=timeouts, health=AT_ONCE)
    model = ModelEntry(
        name="tiny", engine="engine", spec=ModelSpec(source=served_as), task="text", aliases=("org/tiny-alias",)
    )
    return Registry(engines={"engine": engine}, models=(model,))


@pytest.fixture
async def engine() -> AsyncIterator[VllmDouble]:
    async with VllmDouble() as double:
        yield double


@pytest.fixture
async def door(engine: VllmDouble) -> AsyncIterator[str]:
    """The door's base URL."""
    async with serve_app(remote("vllm", engine.url, engine.model), max_body_mb=0.5) as url:
        yield url


@pytest.fixture
async def sdk(door: str) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's own client, without retries: each test sees what the door said first."""
    async with AsyncOpenAI(base_url=f"{door}/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session
