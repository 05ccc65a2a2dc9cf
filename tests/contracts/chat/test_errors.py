"""Every error of the chat endpoint, in the contract's shape: its three examples word for word, and what it does not print."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import aiohttp
import jwt
import pytest
from blockbuster import BlockBuster

from backends.errors import BackendError, Broken, Invalid, Overloaded, Rejected, TimedOut, Unavailable
from backends.types import Delta, Event, Finish, JsonObject, Request
from tests.support import ScriptedBackend, one_model, serve_app

PRINTED = Path(__file__).parent / "printed"
SECRET = "a secret of thirty-two bytes, and more"
PATH = "/api/ai/huggingface/org/model/chat"
ASK = {"messages": [{"role": "user", "content": "Hello, how are you?"}]}
TOKEN = jwt.encode({"sub": "ann", "exp": time.time() + 3600}, SECRET)


class Engine(ScriptedBackend):
    """Says hello, unless a test says what goes wrong."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.failure: Exception | None = None

    def _answer(self, _: Request) -> list[Event | Exception]:
        return [self.failure] if self.failure else [Delta(0, "Hello."), Finish(0, "stop")]


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
async def door(engine: Engine, tmp_path: Path) -> AsyncIterator[str]:
    registry = one_model("org/model", "text", kind="vllm")
    async with serve_app(registry, engine.create, data=tmp_path, jwt_secret=SECRET, max_body_mb=5) as url:
        yield url


@pytest.fixture
async def http(door: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(door, headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        yield session


def printed(name: str) -> JsonObject:
    """An example of the contract's."""
    example: JsonObject = json.loads((PRINTED / name).read_text(encoding="utf-8"))
    return example


async def error_of(answer: aiohttp.ClientResponse) -> JsonObject:
    """The body of an error, whose shape is the contract's."""
    body: JsonObject = await answer.json()
    assert set(body) == {"statusCode", "statusMessage"}
    assert body["statusCode"] == answer.status
    assert isinstance(body["statusMessage"], str)
    return body


@pytest.mark.parametrize(
    "model", ["org/other", "other/model", "local/model", "org%2Fmodel/x", "a%2Fb/c", "%00/%FF", "x" * 300 + "/y"]
)
async def test_a_model_that_does_not_exist(http: aiohttp.ClientSession, engine: Engine, model: str) -> None:
    async with http.post(f"/api/ai/huggingface/{model}/chat?chat_id=1", json=ASK) as answer:
        assert await error_of(answer) == printed("invalid_model.json")
    assert not engine.requests
    async with http.get("/api/ai/chats") as answer:
        assert (await answer.json())["chats"] == []


@pytest.mark.parametrize("model", ["org/old", "local/old", "local/older"])
async def test_a_model_that_was_retired(tmp_path: Path, engine: Engine, model: str) -> None:
    registry = one_model("org/model", "text", "*", kind="vllm")
    registry = replace(registry, retired=frozenset({"org/old", "old", "local/older"}))
    async with (
        serve_app(registry, engine.create, data=tmp_path) as url,
        aiohttp.ClientSession(url, headers={"Authorization": "Bearer any"}) as http,
        http.post(f"/api/ai/huggingface/{model}/chat?chat_id=1", json=ASK) as answer,
    ):
        assert await error_of(answer) == printed("service_unavailable.json")


async def test_a_model_that_does_not_chat(tmp_path: Path, engine: Engine) -> None:
    registry = one_model("org/model", "translation", kind="translation")
    async with (
        serve_app(registry, engine.create, data=tmp_path) as url,
        aiohttp.ClientSession(url, headers={"Authorization": "Bearer any"}) as http,
        http.post(f"{PATH}?chat_id=1", json=ASK) as answer,
    ):
        assert await error_of(answer) == printed("invalid_model.json")


@pytest.mark.parametrize(
    "failure",
    [
        Unavailable("Engine 'e' refused the connection.", retry_after=3),
        Broken("Engine 'e' answered with garbage."),
        TimedOut("Engine 'e' said nothing for 300 s."),
        BackendError("It failed."),
        Rejected("Engine 'e' answered 404.", status=404, body=b"", content_type=""),
        Rejected("Engine 'e' answered 401.", status=401, body=b"", content_type=""),
        Rejected("Engine 'e' answered 500.", status=500, body=b"", content_type=""),
        ZeroDivisionError("a mistake of ours"),
    ],
    ids=lambda failure: f"{type(failure).__name__} {getattr(failure, 'status', '')}",
)
async def test_a_failure_before_the_stream(
    http: aiohttp.ClientSession, engine: Engine, failure: Exception, nothing_blocks_the_loop: BlockBuster
) -> None:
    nothing_blocks_the_loop.deactivate()  # a traceback in the log reads source files
    engine.failure = failure
    for accept in ("*/*", "text/event-stream"):
        async with http.post(f"{PATH}?chat_id=1", json=ASK, headers={"Accept": accept}) as answer:
            assert await error_of(answer) == printed("internal_server_error.json")
            assert answer.content_type == "application/json"


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Invalid("The prompt has 9000 tokens; the model takes 4096.", param="messages"), 400),
        (Rejected("The prompt is too long.", status=400, body=b"", content_type=""), 400),
        (Overloaded("Too many requests are queued."), 429),
    ],
)
async def test_what_the_caller_can_mend_is_told(
    http: aiohttp.ClientSession, engine: Engine, failure: BackendError, status: int
) -> None:
    engine.failure = failure
    async with http.post(f"{PATH}?chat_id=1", json=ASK) as answer:
        assert await error_of(answer) == {"statusCode": status, "statusMessage": failure.message}


USER = {"role": "user", "content": "x"}
BAD_BODIES: dict[str, tuple[object, str]] = {
    "no messages": ({}, "Invalid `messages`: field required"),
    "empty messages": ({"messages": []}, "Invalid `messages`"),
    "messages null": ({"messages": None}, "Invalid `messages`"),
    "messages a string": ({"messages": "hello"}, "Invalid `messages`"),
    "messages an object": ({"messages": {"0": USER}}, "Invalid `messages`"),
    "message a string": ({"messages": ["hello"]}, "Invalid `messages[0]`: it must be an object"),
    "no role": ({"messages": [{"content": "x"}]}, "Invalid `messages[0].role`: field required"),
    "no content": ({"messages": [{"role": "user"}]}, "Invalid `messages[0].content`: field required"),
    "role system": ({"messages": [{"role": "system", "content": "x"}, USER]}, "Invalid `messages[0].role`"),
    "role cased": ({"messages": [USER, {"role": "User", "content": "x"}]}, "Invalid `messages[1].role`"),
    "content null": ({"messages": [{"role": "user", "content": None}]}, "Invalid `messages[0].content`"),
    "content a number": ({"messages": [{"role": "user", "content": 7}]}, "Invalid `messages[0].content`"),
    "content parts": ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "Invalid `messages[0].content`"),
    "content with NUL": ({"messages": [USER, {"role": "user", "content": "a\0"}]}, "Invalid `messages[1].content`"),
    "assistant last": ({"messages": [USER, {"role": "assistant", "content": "x"}]}, "Invalid `messages`: the last one"),
    "unknown field": ({"messages": [USER], "temperature": 0}, "`temperature` is not a field here"),
    "unknown field of a message": ({"messages": [{**USER, "name": "x"}]}, "`messages[0].name` is not a field here"),
    "too many": ({"messages": [USER] * 2049}, "Invalid `messages`"),
    "no object": ([USER], "must be a JSON object"),
    "many unknown fields": ({f"{number}": 0 for number in range(50_000)}, "`0` is not a field here"),
    "many unknown fields of a message": (
        {"messages": [{**USER, **{f"{number}": 0 for number in range(50_000)}}]}, "`messages[0].0` is not a field here"
    ),
    "many mistakes": ({"messages": [{"role": 1}] * 2000}, "Invalid `messages[0].role`"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "message"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_a_body_that_is_wrong(http: aiohttp.ClientSession, engine: Engine, body: object, message: str) -> None:
    async with http.post(f"{PATH}?chat_id=1", json=body) as answer:
        error = await error_of(answer)
    assert error["statusCode"] == 400
    assert message in str(error["statusMessage"])
    assert not engine.requests


JSON = {"Content-Type": "application/json"}
SURROGATE = b'{"messages": [{"role": "user", "content": "\\ud800"}]}'
LONG = {"messages": [{"role": "user", "content": "x" * 1_000_001}]}
BAD_REQUESTS: dict[str, tuple[str, str, dict[str, object], int]] = {
    "no chat": ("POST", PATH, {"json": ASK}, 400),
    "empty chat": ("POST", f"{PATH}?chat_id=", {"json": ASK}, 400),
    "two chats": ("POST", f"{PATH}?chat_id=1&chat_id=2", {"json": ASK}, 400),
    "long chat": ("POST", f"{PATH}?chat_id={'x' * 201}", {"json": ASK}, 400),
    "chat with controls": ("POST", f"{PATH}?chat_id=a%0Ab", {"json": ASK}, 400),
    "chat with NUL": ("POST", f"{PATH}?chat_id=%00", {"json": ASK}, 400),
    "chat of dots": ("POST", f"{PATH}?chat_id=..", {"json": ASK}, 400),
    "unknown parameter": ("POST", f"{PATH}?chat_id=1&stream=false", {"json": ASK}, 400),
    "no JSON": ("POST", f"{PATH}?chat_id=1", {"data": b"{", "headers": JSON}, 400),
    "a lone surrogate": ("POST", f"{PATH}?chat_id=1", {"data": SURROGATE, "headers": JSON}, 400),
    "no path": ("GET", "/api/ai/nowhere", {}, 404),
    "no model": ("POST", "/api/ai/huggingface/model/chat?chat_id=1", {"json": ASK}, 404),
    "no chat of that id": ("GET", "/api/ai/chats/7", {}, 404),
    "nothing to delete": ("DELETE", "/api/ai/chats/7", {}, 404),
    "asked by GET": ("GET", f"{PATH}?chat_id=1", {}, 405),
    "chats by POST": ("POST", "/api/ai/chats", {"json": {}}, 405),
    "too large for a body": ("POST", f"{PATH}?chat_id=1", {"data": BytesIO(b" " * 6_000_000), "headers": JSON}, 413),
    "too many characters": ("POST", f"{PATH}?chat_id=1", {"json": LONG}, 413),
    "form": ("POST", f"{PATH}?chat_id=1", {"data": {"messages": "x"}}, 415),
    "compressed": ("POST", f"{PATH}?chat_id=1", {"data": b"{}", "headers": {**JSON, "Content-Encoding": "gzip"}}, 415),
    "page of none": ("GET", "/api/ai/chats?limit=0", {}, 400),
    "page too large": ("GET", "/api/ai/chats?limit=201", {}, 400),
    "page of no number": ("GET", "/api/ai/chats?limit=1_0", {}, 400),
    "page of another alphabet": ("GET", "/api/ai/chats?limit=%D9%A1", {}, 400),
    "page after nothing": ("GET", "/api/ai/chats?before=abc", {}, 400),
    "page after a time of no zone": ("GET", "/api/ai/chats?before=WyIyMDI2LTExLTIxIiwiMSJd", {}, 400),
    "page before all time": ("GET", "/api/ai/chats?before=WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzE0OjAwIiwiMSJd", {}, 400),
    "page after a list": ("GET", "/api/ai/chats?before=W10=", {}, 400),
    "messages after nothing": ("GET", "/api/ai/chats/1?after=-1", {}, 400),
    "messages after too much": ("GET", "/api/ai/chats/1?after=99999999999", {}, 400),
    "unknown parameter of a list": ("GET", "/api/ai/chats?offset=1", {}, 400),
}  # fmt: skip


@pytest.mark.parametrize(("method", "path", "options", "status"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
async def test_a_request_that_is_wrong(
    http: aiohttp.ClientSession, engine: Engine, method: str, path: str, options: dict[str, object], status: int
) -> None:
    async with http.request(method, path, **options) as answer:  # type: ignore[arg-type]  # what the table says
        error = await error_of(answer)
    assert error["statusCode"] == status
    assert not engine.requests


@pytest.mark.parametrize(
    "header",
    [None, "Bearer", "Bearer garbage", "Basic YW5uOg==", f"Bearer {jwt.encode({'sub': 'ann', 'exp': 1}, SECRET)}"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{PATH}?chat_id=1"),
        ("GET", "/api/ai/chats"),
        ("GET", "/api/ai/chats/1"),
        ("DELETE", "/api/ai/chats/1"),
    ],
)
async def test_without_a_good_token(door: str, engine: Engine, method: str, path: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    async with aiohttp.ClientSession(door) as http, http.request(method, path, json=ASK, headers=headers) as answer:
        error = await error_of(answer)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert error["statusCode"] == 401
    assert not engine.requests


async def test_without_the_database(tmp_path: Path, engine: Engine) -> None:
    data = tmp_path / "data"
    data.write_text("in the way")
    registry = one_model("org/model", "text", kind="vllm")
    async with (
        serve_app(registry, engine.create, data=data) as url,
        aiohttp.ClientSession(url, headers={"Authorization": "Bearer any"}) as http,
    ):
        for method, path in (("POST", f"{PATH}?chat_id=1"), ("GET", "/api/ai/chats"), ("DELETE", "/api/ai/chats/1")):
            async with http.request(method, path, json=ASK) as answer:
                assert (await error_of(answer))["statusCode"] == 503
                assert int(answer.headers["Retry-After"]) > 0
        assert not engine.requests, "what cannot be kept is not asked"
        data.unlink()
        async with http.post(f"{PATH}?chat_id=1", json=ASK) as answer:
            assert (answer.status, await answer.text()) == (200, "Hello.")
