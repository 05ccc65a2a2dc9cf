"""Which session a request names: one, that there is, and that is its key's."""

from __future__ import annotations

import pytest

from tests.contracts.models.session_asks import OPENAI, SPEECH, TEXT, Ask
from tests.contracts.models.session_door import Client, opened, upload

UNKNOWN = "sess_" + "0" * 32


@pytest.mark.parametrize("ask", SPEECH + TEXT)
async def test_an_unknown_session_is_404_in_the_contracts_own_shape(client: Client, ask: Ask) -> None:
    body = await ask(client, UNKNOWN, 404)
    if ask in OPENAI:
        assert (body["error"]["param"], body["error"]["type"]) == ("session_id", "invalid_request_error")
    else:
        assert list(body) == ["detail"]
    assert not client.spy.requests


async def test_a_request_names_one_session(client: Client) -> None:
    one, other = await client.session(), await client.session()
    body = {"task": "translation", "inputs": "hello", "session_id": one}
    for headers in ([("X-Session-Id", other)], [("X-Session-Id", one), ("X-Session-Id", other)]):
        error = await client.call("POST", "/infer", 400, json=body, headers=headers)
        assert "several sessions" in error["detail"]
    await client.call("POST", f"/infer?session_id={one}", json=body, headers={"X-Session-Id": one})
    await client.call(
        "POST", "/v1/audio/transcriptions?session_id=", data=upload(session_id=""), headers={"X-Session-Id": ""}
    )


async def test_with_keys_a_session_is_its_keys_alone() -> None:
    async with opened(api_keys=("k1", "k2")) as client:
        mine, other = ({"Authorization": f"Bearer {key}"} for key in ("k1", "k2"))
        sid = (await client.call("POST", "/api/sessions", 201, headers=mine))["session_id"]
        body = {"task": "translation", "inputs": "hello", "session_id": sid}
        await client.call("POST", "/infer", headers=mine, json=body)
        await client.call("POST", "/infer", 404, headers=other, json=body)
        await client.call("GET", f"/api/sessions/{sid}", 404, headers=other)
        await client.call("DELETE", f"/api/sessions/{sid}", 404, headers=other)
        assert (await client.call("GET", "/api/sessions", headers=other))["sessions"] == []
        assert len((await client.call("GET", "/api/sessions", headers=mine))["sessions"]) == 1
        await client.call("GET", "/api/sessions", 401)
