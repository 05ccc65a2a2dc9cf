"""`kill -9` of the whole proxy: every model that it said to have added is there when it comes back."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from proxy.storage.location import Location, Postgres
from tests.command import serving

ROUNDS = 3


async def add_until_killed(url: str, round_: int, told: set[str], begun: asyncio.Event) -> None:
    """Add models from several tasks until the proxy is gone; told: those that it said to have added; begun: set by the first."""

    async def adding(task: int) -> None:
        for number in range(100_000):
            model_id = f"owner/m-{round_}-{task}-{number}"
            body = {"model_id": model_id, "name": "n" * 200, "model_type": "translation", "description": "d" * 5000}
            async with http.post(f"{url}/api/huggingface/models", json=body) as answer:
                assert answer.status == 200
                told.add(model_id)
                begun.set()

    async with aiohttp.ClientSession() as http:
        outcomes = await asyncio.gather(*(adding(task) for task in range(4)), return_exceptions=True)
    assert all(isinstance(outcome, aiohttp.ClientError) for outcome in outcomes), outcomes


async def models(url: str) -> Mapping[str, Mapping[str, object]]:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/api/huggingface/models") as answer:
        return {model["model_id"]: model for model in (await answer.json())["models"]}


@pytest.mark.timeout(240)
async def test_no_model_that_was_acknowledged_is_lost(location: Location, tmp_path: Path) -> None:
    where = location.url if isinstance(location, Postgres) else f"sqlite:///{location.path}"
    settings = {"SWITCHBOARD_DATABASE_URL": where, "SWITCHBOARD_DATA": str(tmp_path), "SWITCHBOARD_LOG_LEVEL": "info"}
    told: set[str] = set()
    for round_ in range(ROUNDS):
        async with serving(**settings) as command:
            begun = asyncio.Event()
            adding = asyncio.create_task(add_until_killed(command.url, round_, told, begun))
            await begun.wait()
            await asyncio.sleep(random.uniform(0, 0.5))
            command.signal(signal.SIGKILL)
            await adding
    async with serving(**settings) as command:
        kept = await models(command.url)
    assert len(told) >= ROUNDS
    assert told <= kept.keys()
    assert all(len(str(kept[name]["description"])) == 5000 for name in told)
