"""Sessions from beginning to end, and what they outlive."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime

from tests.contracts.models.session_door import CONFIG, Body, Client, moment, opened, registry, upload
from tests.contracts.schema import conforms


async def test_a_session_from_beginning_to_end(client: Client) -> None:
    made = await client.call("POST", "/api/sessions", 201)
    sid = made["session_id"]
    # The contract's example is sess_1234567890abcdef.
    assert re.fullmatch("sess_[0-9a-f]{16,}", sid)
    conforms("models", "ModelConfig", made["config"])
    assert moment(made["created_at"]) == moment(made["updated_at"]) == moment(made["last_used_at"])
    assert (moment(made["expires_at"]) - moment(made["created_at"])).total_seconds() == 86400
    assert abs((datetime.now(UTC) - moment(made["created_at"])).total_seconds()) < 60
    assert await client.call("GET", f"/api/sessions/{sid}") == made
    assert await client.call("GET", CONFIG.format(sid)) == made["config"]
    (listed,) = (await client.call("GET", "/api/sessions"))["sessions"]
    assert listed == {name: value for name, value in made.items() if name != "config"}
    assert await client.call("DELETE", f"/api/sessions/{sid}") == {"session_id": sid, "status": "deleted"}
    for method, path in (
        ("GET", f"/api/sessions/{sid}"),
        ("DELETE", f"/api/sessions/{sid}"),
        ("GET", CONFIG.format(sid)),
    ):
        error = (await client.call(method, path, 404))["error"]
        assert (error["code"], error["details"]) == ("NOT_FOUND", {"field": "session_id"})
        assert sid in error["message"]


async def test_where_a_new_session_is(client: Client) -> None:
    async with client.http.post("/api/sessions", json={}) as response:
        body = await response.json()
        assert (response.status, response.headers["Location"]) == (201, f"/api/sessions/{body['session_id']}")


async def test_all_of_ones_sessions_end_at_once(client: Client) -> None:
    ids = [await client.session() for _ in range(3)]
    listed = (await client.call("GET", "/api/sessions"))["sessions"]
    assert [session["session_id"] for session in listed] == ids
    assert sorted((await client.call("DELETE", "/api/sessions"))["deleted"]) == sorted(ids)
    assert await client.call("GET", "/api/sessions") == {"sessions": []}
    assert await client.call("DELETE", "/api/sessions") == {"deleted": []}


async def test_there_are_only_so_many() -> None:
    async with opened(max_sessions=1) as client:
        await client.session()
        async with client.http.post("/api/sessions") as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "60")
            assert (await response.json())["error"]["code"] == "OVERLOADED"


async def test_idle_sessions_end() -> None:
    async with opened(session_idle_seconds=0.2) as client:
        sid = await client.session()
        async with asyncio.timeout(10):
            while (await client.call("GET", "/api/sessions"))["sessions"]:  # noqa: ASYNC110 - the time that passes
                await asyncio.sleep(0.02)
        await client.call("GET", f"/api/sessions/{sid}", 404)


async def test_without_its_database_a_session_is_503_and_everything_else_goes_on() -> None:
    async with opened(database_url="postgresql://nobody@127.0.0.1:9/none") as client:
        for method, path in (
            ("POST", "/api/sessions"),
            ("GET", "/api/sessions"),
            ("GET", "/api/sessions/sess_" + "0" * 32),
        ):
            error = (await client.call(method, path, 503))["error"]
            assert error["code"] == "SERVICE_UNAVAILABLE"
        body: Body = {"task": "translation", "inputs": "hello"}
        await client.call("POST", "/infer", 503, json={**body, "session_id": "sess_" + "0" * 32})
        assert await client.call("POST", "/infer", json=body) == {"result": [{"translation_text": "HELLO"}]}


async def test_a_session_outlives_its_models() -> None:
    """A model that was configured when a session chose it may be gone after a restart."""
    models = registry()
    async with opened(models) as client:
        sid = await client.session(asr={"model_id": "ears-2", "parameters": {"beam_size": 2}})
    fewer = replace(models, models=tuple(model for model in models.models if model.name != "ears-2"))
    async with opened(fewer) as client:
        asr = (await client.call("GET", CONFIG.format(sid)))["asr"]
        assert (asr["model_id"], asr["parameters"]["beam_size"]) == ("ears-2", 2)
        error = await client.call("POST", f"/asr?session_id={sid}", 404, data=upload())
        assert "`ears-2` does not exist" in error["detail"]
        await client.configure(sid, {"mt": {"target_language": "fr"}})
        asr = (await client.configure(sid, {"asr": {"model_id": None}}))["config"]["asr"]
        assert (asr["model_id"], asr["parameters"]["beam_size"]) == ("ears", 2)
        await client.call("POST", f"/asr?session_id={sid}", data=upload())
