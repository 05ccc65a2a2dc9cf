"""Who may chat: holders of tokens where tokens are checked, of API keys where only those are; and who may do the rest."""

from __future__ import annotations

import time
from pathlib import Path

import aiohttp
import jwt
import pytest

from backends.types import Delta, Finish
from tests.support import ScriptedBackend, one_model, serve_app

SECRET = "a secret of thirty-two bytes, and more"
PATH = "/api/ai/huggingface/org/model/chat?chat_id=1"
ASK = {"messages": [{"role": "user", "content": "Hello?"}]}
TOKEN = jwt.encode({"sub": "ann", "exp": time.time() + 3600}, SECRET)
BACKEND = ScriptedBackend(lambda _: [Delta(0, "Hello."), Finish(0, "stop")])


async def status(http: aiohttp.ClientSession, method: str, path: str, token: str) -> int:
    async with http.request(method, path, json=ASK, headers={"Authorization": f"Bearer {token}"}) as answer:
        await answer.read()
        return answer.status


@pytest.mark.parametrize(
    ("settings", "chatting", "elsewhere"),
    [
        ({"api_keys": "key,other", "jwt_secret": SECRET}, {TOKEN: 200, "key": 401}, {TOKEN: 401, "key": 200}),
        ({"api_keys": "key,other"}, {"key": 200, "other": 200, TOKEN: 401}, {"key": 200, TOKEN: 401}),
        ({"jwt_secret": SECRET}, {TOKEN: 200, "key": 401}, {TOKEN: 200, "key": 200}),
        ({}, {TOKEN: 200, "any": 200}, {"any": 200}),
        ({"listen": "0.0.0.0:8080", "open_without_keys": True}, {TOKEN: 401, "any": 401}, {"any": 200}),
    ],
    ids=["tokens and keys", "keys", "tokens", "open", "open to all"],
)
async def test_who_may_chat_and_who_may_do_the_rest(
    tmp_path: Path, settings: dict[str, object], chatting: dict[str, int], elsewhere: dict[str, int]
) -> None:
    registry = one_model("org/model", "text", kind="vllm")
    async with (
        serve_app(registry, BACKEND.create, data=tmp_path, **settings) as url,
        aiohttp.ClientSession(url) as http,
    ):
        assert {token: await status(http, "POST", PATH, token) for token in chatting} == chatting
        assert {token: await status(http, "GET", "/v1/models", token) for token in elsewhere} == elsewhere


async def test_each_key_has_chats_of_its_own(tmp_path: Path) -> None:
    registry = one_model("org/model", "text", kind="vllm")
    async with (
        serve_app(registry, BACKEND.create, data=tmp_path, api_keys="key,other") as url,
        aiohttp.ClientSession(url) as http,
    ):
        assert await status(http, "POST", PATH, "key") == 200
        assert await status(http, "GET", "/api/ai/chats/1", "key") == 200
        assert await status(http, "GET", "/api/ai/chats/1", "other") == 404


async def test_of_many_chats_the_oldest_gives_way(tmp_path: Path) -> None:
    registry = one_model("org/model", "text", kind="vllm")
    settings = {"api_keys": "key,other", "max_chats": 2, "chat_days": 1}
    async with (
        serve_app(registry, BACKEND.create, data=tmp_path, **settings) as url,
        aiohttp.ClientSession(url) as http,
    ):
        assert await status(http, "POST", PATH, "other") == 200
        for number in (1, 2, 3):
            assert await status(http, "POST", PATH.replace("=1", f"={number}"), "key") == 200
        kept = [await status(http, "GET", f"/api/ai/chats/{number}", "key") for number in (1, 2, 3)]
        assert kept == [404, 200, 200]
        assert await status(http, "GET", "/api/ai/chats/1", "other") == 200
