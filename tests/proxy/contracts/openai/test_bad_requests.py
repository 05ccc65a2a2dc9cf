"""Every way to ask wrongly gets its error, in OpenAI's shape, with the id of the request."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from proxy.registry.models import Registry
from tests.engines.vllm_double import VllmDouble
from tests.proxy.contracts.openai.conftest import remote
from tests.support import serve_app

CHAT = "/v1/chat/completions"
GOOD = {"model": "tiny", "messages": [{"role": "user", "content": "x"}]}
JSON = {"Content-Type": "application/json"}


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "code", "param"),
    [
        (CHAT, b"{", JSON, 400, None, None),
        (CHAT, b"[]", JSON, 400, None, None),
        (CHAT, b"\xff\xfe", JSON, 400, None, None),
        (CHAT, b"[" * 200_000, JSON, 400, None, None),
        (CHAT, without("model"), JSON, 400, None, "model"),
        (CHAT, without("messages"), JSON, 400, None, "messages"),
        (CHAT, json.dumps({**GOOD, "messages": []}).encode(), JSON, 400, None, "messages"),
        (CHAT, json.dumps({**GOOD, "messages": "x"}).encode(), JSON, 400, None, "messages"),
        (CHAT, json.dumps({**GOOD, "model": 7}).encode(), JSON, 400, None, "model"),
        (CHAT, json.dumps({**GOOD, "model": "nobody"}).encode(), JSON, 404, "model_not_found", "model"),
        (CHAT, json.dumps(GOOD).encode(), {"Content-Type": "text/plain"}, 415, "unsupported_media_type", None),
        (CHAT, json.dumps(GOOD).encode(), {}, 415, "unsupported_media_type", None),
        (
            CHAT,
            gzip.compress(b"{}", mtime=0),
            {**JSON, "Content-Encoding": "gzip"},
            415,
            "unsupported_media_type",
            None,
        ),
        (CHAT, b" " * 600_000, JSON, 413, "request_too_large", None),
        ("/v1/completions", b'{"model": "tiny"}', JSON, 400, None, "prompt"),
        ("/v1/embeddings", b'{"input": "x"}', JSON, 400, None, "model"),
        ("/v1/nothing", b"{}", JSON, 404, "not_found", None),
        ("/v2/chat/completions", b"{}", JSON, 404, None, None),
    ],
)
async def test_a_wrong_request(
    door: str,
    engine: VllmDouble,
    http: aiohttp.ClientSession,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    code: str | None,
    param: str | None,
) -> None:
    async with http.post(door + path, data=body, headers=headers, skip_auto_headers=["Content-Type"]) as answer:
        told = await answer.json()
    assert answer.status == status
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-Id"])
    if path.startswith("/v1"):
        error = told["error"]
        assert (error["code"], error["param"]) == (code, param)
        assert error["message"] and error["type"] == "invalid_request_error"
    assert not engine.requests, "nothing of it reaches the engine"


async def test_the_wrong_method_names_the_right_one(door: str, http: aiohttp.ClientSession) -> None:
    async with http.get(door + CHAT) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert (await answer.json())["error"]["code"] == "method_not_allowed"


async def test_a_body_that_is_declared_too_large_is_refused_too(door: str) -> None:
    host, port = door.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + b"100000\r\n" + b" " * 0x100000 + b"\r\n" * 1
    )
    assert b" 413 " in await reader.readline()
    writer.close()


async def test_an_id_that_is_not_sane_is_replaced(door: str, http: aiohttp.ClientSession) -> None:
    for sent, kept in (("ok-1/2:3", True), ("x" * 129, False), ("with space", False), ("ünï", False)):
        async with http.get(f"{door}/v1/models", headers={"X-Request-Id": sent}) as answer:
            assert (answer.headers["X-Request-Id"] == sent) is kept


@pytest.fixture
async def locked(engine: VllmDouble) -> AsyncIterator[str]:
    registry: Registry = remote("vllm", engine.url, engine.model)
    async with serve_app(registry, api_keys="first, second") as url:
        yield url


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer ", 401),
        ("Basic first", 401),
        ("Bearer first ' OR 1=1 --", 401),
        ("Bearer first", 200),
        ("bearer second", 200),
    ],
)
async def test_keys(
    locked: str, engine: VllmDouble, http: aiohttp.ClientSession, authorization: str | None, status: int
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with http.post(locked + CHAT, json=GOOD, headers=headers) as answer:
        body = await answer.json()
    assert answer.status == status
    if status == 401:
        assert body["error"]["code"] == "invalid_api_key"
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert not engine.requests


async def test_what_operators_ask_needs_no_key_but_metrics_do(locked: str, http: aiohttp.ClientSession) -> None:
    for path, status in (("/health", 200), ("/ready", 200), ("/metrics", 401), ("/v1/models", 401), ("/nothing", 401)):
        async with http.get(locked + path) as answer:
            assert answer.status == status, path
