"""Sections 1.1 to 1.5: models come, change and go, and every contract sees it."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import quote

import pytest
from yarl import URL

from tests.proxy.contracts.registry.conftest import Body, Client, Open
from tests.support import ScriptedBackend

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")


async def models_of(ask: Client) -> list[str]:
    _, body = await ask("GET", "/models")
    return [model["model_id"] for model in body["models"]]


async def test_a_model_is_added_as_the_contract_shows(ask: Client) -> None:
    sent = {
        "model_id": "microsoft/DialoGPT-medium",
        "name": "DialoGPT Medium",
        "model_type": "conversational",
        "description": "A conversational AI model trained on Reddit conversations",
        "parameters": {"max_new_tokens": 100, "temperature": 0.7, "do_sample": True, "top_p": 0.9},
    }
    status, body = await ask("POST", "/models", sent)
    assert status == 200
    assert TIME.fullmatch(body["model"].pop("added_date"))
    assert body == {
        "success": True,
        "model": {**sent, "last_used": None, "usage_count": 0, "status": "available"},
        "message": "Model 'microsoft/DialoGPT-medium' added successfully",
    }


async def test_a_new_model_is_served_under_every_contract(ask: Client) -> None:
    await ask.add("owner/new")
    await ask.add("owner/translator", "translation")
    async with ask.http.get(f"{ask.url}/v1/models") as answer:
        ids = [model["id"] for model in (await answer.json())["data"]]
    assert {"owner/new", "owner/translator"} <= {*ids}
    chat = {"model": "owner/new", "messages": [{"role": "user", "content": "Hello"}]}
    async with ask.http.post(f"{ask.url}/v1/chat/completions", json=chat) as answer:
        assert (await answer.json())["choices"][0]["message"]["content"] == "bright and full"
    path = "/api/ai/huggingface/owner/new/chat?chat_id=1"
    headers = {"Authorization": "Bearer any"}
    async with ask.http.post(ask.url + path, json={"messages": chat["messages"]}, headers=headers) as answer:
        assert await answer.text() == "bright and full"
    await ask("DELETE", "/models/owner%2Fnew")
    async with ask.http.post(f"{ask.url}/v1/chat/completions", json=chat) as answer:
        assert answer.status == 404


async def test_configured_models_are_listed_and_stay(ask: Client) -> None:
    assert await models_of(ask) == ["house/chat"]
    status, body = await ask("DELETE", "/models/house/chat")
    assert (status, body["success"]) == (400, False)
    assert "configuration" in body["error"]
    status, _ = await ask("POST", "/models", {"model_id": "house/chat", "name": "n", "model_type": "text-generation"})
    assert status == 400
    await ask("PUT", "/models/house/chat", {"description": "Ours"})
    assert (await ask("GET", "/models/house/chat"))[1]["model"]["description"] == "Ours"
    assert await models_of(ask) == ["house/chat"]


async def test_models_are_listed_by_type(ask: Client) -> None:
    await ask.add("a", "summarization")
    await ask.add("b", "translation")
    _, body = await ask("GET", "/models?type=translation")
    assert ([model["model_id"] for model in body["models"]], body["count"]) == (["b"], 1)
    assert (await ask("GET", "/models?type="))[1]["count"] == 3
    assert (await ask("GET", "/models?type=nothing"))[1] == {"success": True, "models": [], "count": 0}


@pytest.mark.parametrize("written", ["owner/name", "owner%2Fname", "owner%2fname"])
async def test_ids_have_slashes(ask: Client, written: str) -> None:
    await ask.add("owner/name")
    status, body = await ask("GET", f"/models/{written}")
    assert (status, body["model"]["model_id"]) == (200, "owner/name")
    status, body = await ask("PUT", f"/models/{written}", {"name": "New"})
    assert (status, body["model"]["name"]) == (200, "New")
    status, body = await ask("POST", f"/models/{written}/load")
    assert (status, body["message"]) == (200, "Model 'owner/name' loaded successfully")
    status, body = await ask("DELETE", f"/models/{written}")
    assert (status, body["message"]) == (200, "Model 'owner/name' removed successfully")
    assert [model["model_id"] for model in body["models_data"]["models"]] == ["house/chat"]
    assert body["models_data"]["count"] == 1
    assert TIME.fullmatch(body["models_data"]["last_updated"])


async def test_what_is_sent_is_changed_and_nothing_else(ask: Client) -> None:
    added = await ask.add("m", description="old", parameters={"top_k": 3, "temperature": 0.1})
    status, body = await ask("PUT", "/models/m", {"parameters": {"temperature": 0.9}})
    assert status == 200
    assert body["model"] == {**added, "parameters": {"temperature": 0.9}}
    assert (await ask("GET", "/models/m"))[1]["model"] == body["model"]
    _, body = await ask("PUT", "/models/m", {"last_used": "2025-06-26T22:30:00.000000"})
    assert body["model"]["last_used"] == "2025-06-26T22:30:00.000000"


async def test_null_is_none_of_what_is_optional(ask: Client) -> None:
    added = await ask.add("m", description=None, parameters=None)
    assert (added["description"], added["parameters"]) == ("", {})
    await ask("PUT", "/models/m", {"description": "told", "parameters": {"top_k": 3}})
    _, body = await ask("PUT", "/models/m", {"description": None, "parameters": None})
    assert (body["model"]["description"], body["model"]["parameters"]) == ("", {})
    for field in ("name", "model_type", "status"):
        assert (await ask("PUT", "/models/m", {field: None}))[0] == 400


@pytest.mark.parametrize("field", ["model_id", "added_date", "usage_count"])
async def test_protected_fields_are_refused(ask: Client, field: str) -> None:
    added = await ask.add("m")
    status, body = await ask("PUT", "/models/m", {"name": "New", field: added[field]})
    assert (status, body) == (400, {"success": False, "error": f"Cannot update protected field: {field}"})
    assert (await ask("GET", "/models/m"))[1]["model"]["name"] == "M"


@pytest.mark.parametrize(
    "path", ["GET /models/invalid-model", "PUT /models/invalid-model", "DELETE /models/invalid-model"]
)
async def test_an_unknown_model_is_told_as_the_contract_shows(ask: Client, path: str) -> None:
    method, where = path.split()
    body = {"name": "n"} if method == "PUT" else None
    assert await ask(method, where, body) == (404, {"success": False, "error": "Model 'invalid-model' not found"})


async def test_what_is_missing_is_told_as_the_contract_shows(ask: Client) -> None:
    whole = {"model_id": "m", "name": "n", "model_type": "translation"}
    for field in whole:
        for sent in ({name: value for name, value in whole.items() if name != field}, {**whole, field: None}):
            told = await ask("POST", "/models", sent)
            assert told == (400, {"success": False, "error": f"Missing required field: {field}"})


BAD = [
    {"model_id": "../../etc/passwd"},
    {"model_id": "a/b/c"},
    {"model_id": "/absolute"},
    {"model_id": "a//b"},
    {"model_id": "café/model"},
    {"model_id": "\U0001f600"},
    {"model_id": "nul\x00l"},
    {"model_id": "x" * 201},
    {"model_id": 5},
    {"model_id": ["m"]},
    {"name": 5},
    {"name": "x" * 201},
    {"name": "nul\x00l"},
    {"description": "x" * 10_001},
    {"description": 5},
    {"model_type": "image-classification"},
    {"model_type": {}},
    {"parameters": []},
    {"parameters": {"max_new_tokens": 0}},
    {"parameters": {"max_new_tokens": "ten"}},
    {"parameters": {"max_new_tokens": True}},
    {"parameters": {"max_tokens": 5}},
    {"parameters": {"temperature": -1}},
    {"parameters": {f"p{number}": 1 for number in range(65)}},
    {"parameters": {"targets": ["x" * 1000] * 70}, "model_type": "fill-mask"},
    {"status": "gone"},
    {"surprise": 1},
]


@pytest.mark.parametrize("wrong", BAD, ids=repr)
async def test_nonsense_is_refused_and_nothing_kept(ask: Client, wrong: Body) -> None:
    status, body = await ask(
        "POST", "/models", {"model_id": "m", "name": "n", "model_type": "text-generation", **wrong}
    )
    assert (status, body["success"]) == (400, False)
    assert next(iter(wrong)) in body["error"] or "NUL" in body["error"]
    assert await models_of(ask) == ["house/chat"]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"name": ""},
        {"status": "lost"},
        {"model_type": "image"},
        {"parameters": {"max_length": 5}},
        {"last_used": "yesterday"},
        {"last_used": 5},
        {"last_used": "0001-01-01T00:00:00+14:00"},
        {"last_used": "9999-12-31T23:59:59-14:00"},
        {"owner": "me"},
    ],
    ids=repr,
)
async def test_nonsense_changes_nothing(ask: Client, wrong: Body) -> None:
    added = await ask.add("m", parameters={"top_k": 3})
    status, _ = await ask("PUT", "/models/m", wrong)
    assert status == 400
    assert (await ask("GET", "/models/m"))[1]["model"] == added


async def test_any_text_is_kept_in_parameters(ask: Client) -> None:
    parameters = {"targets": ["nul\x00l", "\U0001f600", "\ufffe", "'; DROP TABLE models; --"], "top_k": 2}
    await ask.add("m", "fill-mask", parameters=parameters)
    assert (await ask("GET", "/models/m"))[1]["model"]["parameters"] == parameters


async def test_parameters_fit_the_type_that_the_model_gets(ask: Client) -> None:
    await ask.add("m", parameters={"top_p": 0.5})
    status, _ = await ask("PUT", "/models/m", {"model_type": "fill-mask"})
    assert status == 400
    status, body = await ask("PUT", "/models/m", {"model_type": "fill-mask", "parameters": {"top_k": 3}})
    assert (status, body["model"]["model_type"]) == (200, "fill-mask")


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"null", b'"x"', b"\xff", b'{"model_id": NaN}', b"[" * 100_000])
@pytest.mark.parametrize("path", ["/models", "/generate", "/pipeline"])
async def test_what_is_no_json_object_is_refused(ask: Client, path: str, data: bytes) -> None:
    status, body = await ask("POST", path, data=data, headers={"Content-Type": "application/json"})
    assert (status, body["success"]) == (400, False)


async def test_bodies_have_limits_and_a_type(ask: Client) -> None:
    assert (await ask("POST", "/models", {"model_id": "x" * 600_000}))[0] == 413
    assert (await ask("POST", "/models", data=b"{}", headers={"Content-Type": "text/plain"}))[0] == 415
    assert (await ask("POST", "/cache"))[0] == 405
    assert (await ask("GET", "/none"))[0] == 404


@pytest.mark.parametrize("model_id", ["café", "a/b/c/d", "x" * 3000, "%00", "%ff%fe", "..%2F..", "\U0001f600", "a b"])
async def test_ids_that_no_model_can_have_are_not_found(ask: Client, model_id: str) -> None:
    await ask.add("m")
    written = model_id if model_id.startswith(("%", "..")) else quote(model_id)
    for method, body in (("GET", None), ("DELETE", None), ("PUT", {"name": "n"})):
        status, told = await ask(method, f"/models/{written}", body)
        assert (status, told["success"]) == (404, False)
    assert (await ask("POST", "/generate", {"model_id": model_id, "prompt": "p"}))[0] == 404


@pytest.mark.parametrize(
    "query",
    [
        "GET /models?typ=x",
        "GET /models?type=a&type=b",
        "DELETE /cache?model=m",
        "GET /cache?model_id=m",
        "GET /statistics?model_id=m",
        "GET /model-types?x",
        "GET /dependencies?x=",
        "GET /models/house/chat?x=1",
        "DELETE /models/house/chat?force=true",
        "PUT /models/house/chat?name=n",
        "POST /models?name=n",
        "POST /models/house/chat/load?force_reload=true",
        "POST /generate?stream=true",
        "POST /pipeline?max_length=5",
    ],
)
async def test_queries_hold_nothing_else(ask: Client, query: str) -> None:
    method, path = query.split()
    body = {"name": "n", "prompt": "p"} if method in ("POST", "PUT") else None
    status, told = await ask(method, path, body)
    assert (status, told["success"]) == (400, False)
    assert f"`{path.partition('?')[2].partition('=')[0]}`" in told["error"]


async def test_a_text_that_is_no_text_is_found_nowhere(ask: Client) -> None:
    await ask.add("m")
    for method, path in (("GET", "/models/%ff"), ("DELETE", "/cache?model_id=%ff")):
        where = URL(f"{ask.url}/api/huggingface{path}", encoded=True)
        async with ask.http.request(method, where) as answer:
            assert (answer.status, (await answer.json())["success"]) == (404, False)


async def test_of_fifty_who_add_one_model_one_does(ask: Client) -> None:
    body = {"model_id": "m", "name": "n", "model_type": "translation"}
    answers = await asyncio.gather(*(ask("POST", "/models", body) for _ in range(50)))
    assert sorted(status for status, _ in answers) == [200] + [400] * 49
    assert {told["error"] for status, told in answers if status == 400} == {"Model 'm' already exists"}
    assert await models_of(ask) == ["house/chat", "m"]


async def test_a_retired_model_is_known_and_not_served(ask: Client, backend: ScriptedBackend) -> None:
    await ask.add("owner/old")
    _, body = await ask("PUT", "/models/owner/old", {"status": "retired"})
    assert body["model"]["status"] == "retired"
    status, body = await ask("POST", "/generate", {"model_id": "owner/old", "prompt": "p"})
    assert (status, body["error"]) == (400, "Model 'owner/old' is retired")
    async with ask.http.get(f"{ask.url}/v1/models") as answer:
        assert "owner/old" not in await answer.text()
    await ask("PUT", "/models/owner/old", {"status": "available"})
    assert (await ask("POST", "/generate", {"model_id": "owner/old", "prompt": "p"}))[0] == 200


async def test_models_outlive_the_proxy(ask: Client, opened: Open) -> None:
    await ask.add("owner/kept", parameters={"top_k": 3})
    _, before = await ask("GET", "/models/owner/kept")
    async with opened() as url:
        again = Client(ask.http, url)
        assert await again("GET", "/models/owner/kept") == (200, before)
        async with ask.http.get(f"{url}/v1/models") as answer:
            assert "owner/kept" in await answer.text()


async def test_proxies_on_one_database_see_each_other(ask: Client, opened: Open) -> None:
    async with opened() as url:
        other = Client(ask.http, url)
        await ask.add("owner/new", parameters={"max_new_tokens": 7})
        # At once where the id is new to the other one, ...
        status, body = await other("POST", "/generate", {"model_id": "owner/new", "prompt": "p"})
        assert (status, body["parameters"]["max_new_tokens"]) == (200, 7)
        assert (await ask("GET", "/models/owner/new"))[1]["model"]["usage_count"] == 1
        # ... and within a second where it is not.
        await ask("DELETE", "/models/owner/new")
        for _ in range(50):
            status, _ = await other("POST", "/generate", {"model_id": "owner/new", "prompt": "p"})
            if status != 200:
                break
            await asyncio.sleep(0.1)
        assert status == 404
