"""Which models there are, with ids that have slashes."""

from __future__ import annotations

import aiohttp
import pytest
from openai import AsyncOpenAI, NotFoundError
from yarl import URL


async def test_the_list_has_models_and_aliases(sdk: AsyncOpenAI, door: str, http: aiohttp.ClientSession) -> None:
    models = {model.id: model async for model in await sdk.models.list()}
    assert set(models) == {"tiny", "org/tiny-alias"}
    assert models["tiny"].object == "model" and models["tiny"].created > 0
    async with http.get(f"{door}/v1/models") as answer:
        body = await answer.json()
    # vLLM's own load generator reads these two.
    assert (body["data"][0]["id"], body["data"][1]["root"]) == ("tiny", "tiny")


async def test_one_model_by_id(sdk: AsyncOpenAI) -> None:
    assert (await sdk.models.retrieve("org/tiny-alias")).id == "org/tiny-alias"
    with pytest.raises(NotFoundError) as missing:
        await sdk.models.retrieve("org/other")
    assert missing.value.code == "model_not_found"


@pytest.mark.parametrize("path", ["org/tiny-alias", "org%2Ftiny-alias"])
async def test_slashes_plain_and_encoded(door: str, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(URL(f"{door}/v1/models/{path}", encoded=True)) as answer:
        assert (await answer.json())["id"] == "org/tiny-alias"
