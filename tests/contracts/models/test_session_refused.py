"""Contract 3, Model Configuration: what is refused, by its name and in few words."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contracts.models.session_door import CONFIG, Body, Client, opened
from tests.contracts.schema import conforms


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"asr": {"parameters": {"beam_size": 0}}}, 400, "CONFIGURATION_ERROR", "asr.parameters.beam_size"),
        ({"asr": {"parameters": {"beam_size": "5"}}}, 400, "CONFIGURATION_ERROR", "asr.parameters.beam_size"),
        ({"asr": {"parameters": {"patience": 1}}}, 400, "CONFIGURATION_ERROR", "asr.parameters.patience"),
        ({"mt": {"hue": None}}, 400, "CONFIGURATION_ERROR", "mt.hue"),
        ({"mt": 5}, 400, "CONFIGURATION_ERROR", "mt"),
        ({"tts": {}}, 400, "CONFIGURATION_ERROR", "tts"),
        ({"apply_immediately": "no"}, 400, "CONFIGURATION_ERROR", "apply_immediately"),
        ({"apply_immediately": None}, 400, "CONFIGURATION_ERROR", "apply_immediately"),
        ({"asr": {"model_id": "openai/whisper-none"}}, 404, "MODEL_NOT_FOUND", "asr.model_id"),
        ({"asr": {"model_id": "words"}}, 400, "CONFIGURATION_ERROR", "asr.model_id"),
        ({"asr": {"compute_config": {"device": "cuda"}}}, 400, "UNSUPPORTED_DEVICE", "asr.compute_config.device"),
        (
            {"asr": {"compute_config": {"compute_type": "float16"}}},
            400,
            "UNSUPPORTED_DEVICE",
            "asr.compute_config.compute_type",
        ),
        (
            {"asr": {"compute_config": {"gpu_memory_fraction": 0.5}}},
            400,
            "CONFIGURATION_ERROR",
            "asr.compute_config.gpu_memory_fraction",
        ),
        (
            {"asr": {"compute_config": {"cpu_threads": 1024}}},
            400,
            "CONFIGURATION_ERROR",
            "asr.compute_config.cpu_threads",
        ),
        ({"mt": {"compute_config": {"batch_size": 33}}}, 400, "CONFIGURATION_ERROR", "mt.compute_config.batch_size"),
    ],
)
async def test_errors_name_the_field_by_its_path(
    client: Client, change: Body, status: int, code: str, field: str
) -> None:
    sid = await client.session()
    before = await client.call("GET", CONFIG.format(sid))
    error = await client.refused(sid, change, status)
    conforms("models", "ErrorResponse", {"error": error})
    assert (error["code"], error["details"]["field"]) == (code, field)
    assert await client.call("GET", CONFIG.format(sid)) == before
    if field != "apply_immediately":
        made = await client.call("POST", "/api/sessions", status, json=change)
        assert made["error"]["details"]["field"] == field


async def test_an_unknown_model_is_named_in_the_details(client: Client) -> None:
    error = await client.refused(await client.session(), {"mt": {"model_id": "nothing"}}, 404)
    assert error["details"] == {"model_id": "nothing", "field": "mt.model_id"}


HOSTILE = [
    (b"", 400),
    (b"null", 400),
    (b"[]", 400),
    (b'{"asr":', 400),
    (b'{"asr": {"parameters": {"temperature": NaN}}}', 400),
    (b'{"asr": {"parameters": {"temperature": 1e999}}}', 400),
    (b'{"asr": {"parameters": {"beam_size": 99999999999999999999999}}}', 400),
    (b'{"asr": {"model_id": "\\ud800"}}', 400),
    (b'{"asr": {"model_id": "\xff"}}', 400),
    (b'{"asr": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}", 400),
    (b'{"asr": {"model_id": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}}", 400),
    (b'{"asr": {"model_id": ' + b"[" * 900 + b"]" * 900 + b"}}", 400),
    (b'{"asr": ' * 5000, 400),
    (b'{"' + b"x" * 50_000 + b'": 1}', 400),
    (b'{"asr": {"' + b"x" * 50_000 + b'": 1}}', 400),
    (b'{"asr": {"parameters": {"initial_prompt": "' + b"x" * 50_000 + b'"}}}', 400),
    (b'{"asr": {"model_id": "' + b"x" * 50_000 + b'"}}', 400),
    (b" " * 200_000, 413),
]


@pytest.mark.parametrize(("body", "status"), HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_bodies_are_refused_in_few_words(client: Client, body: bytes, status: int) -> None:
    sid = await client.session()
    headers = {"Content-Type": "application/json"}
    for method, path in (("PUT", CONFIG.format(sid)), ("POST", "/api/sessions")):
        if method == "POST" and not body:
            continue
        async with client.http.request(method, path, data=body, headers=headers) as response:
            answer = await response.read()
            assert response.status == status, answer
            conforms("models", "ErrorResponse", orjson.loads(answer))
            assert len(answer) < 2000


async def test_texts_that_not_every_database_keeps(client: Client) -> None:
    sid = await client.session()
    odd = "\x00 \x7f \U0001f600 \u2028"
    answer = await client.configure(sid, {"asr": {"parameters": {"initial_prompt": odd}}})
    assert answer["config"]["asr"]["parameters"]["initial_prompt"] == odd
    assert await client.call("GET", CONFIG.format(sid)) == answer["config"]


async def test_a_query_is_refused_by_name(client: Client) -> None:
    sid = await client.session()
    for method, path in (
        ("POST", "/api/sessions"),
        ("GET", "/api/sessions"),
        ("DELETE", "/api/sessions"),
        ("GET", f"/api/sessions/{sid}"),
        ("DELETE", f"/api/sessions/{sid}"),
        ("GET", CONFIG.format(sid)),
        ("PUT", CONFIG.format(sid)),
        ("GET", "/api/models/status"),
        ("POST", "/api/models/ears/load"),
        ("POST", "/api/models/ears/unload"),
        ("POST", "/api/models/ears/health-check"),
        ("GET", f"/ws/{sid}"),
    ):
        error = (await client.call(method, f"{path}?force=1", 400))["error"]
        assert (error["code"], error["details"]) == ("CONFIGURATION_ERROR", {"field": "force"})
    error = (await client.call("GET", "/api/models/mt?limit=1&limit=2", 400))["error"]
    assert error["details"] == {"field": "limit"}


async def test_other_types_of_bodies(client: Client) -> None:
    sid = await client.session()
    async with client.http.put(CONFIG.format(sid), data=b"{}") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    async with client.http.post("/api/sessions", data=b"a=b") as response:
        assert response.status == 415
    for method, path in (("POST", CONFIG.format(sid)), ("PUT", "/api/sessions"), ("PATCH", f"/api/sessions/{sid}")):
        async with client.http.request(method, path, json={}) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(
    "sid", ["x", "sess_", "sess_1234567890abcdef", "sess_%00", "sess_" + "%F0%9F%98%80" * 8, "a" * 4000]
)
async def test_ids_that_are_none(client: Client, sid: str) -> None:
    for method, path in (("GET", "/api/sessions/{}"), ("DELETE", "/api/sessions/{}"), ("GET", CONFIG)):
        error = (await client.call(method, path.format(sid), 404))["error"]
        assert error["details"] == {"field": "session_id"}
        assert len(error["message"]) < 300
    assert (await client.configure(sid, {}, 404))["error"]["code"] == "NOT_FOUND"


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=10,
)


names = st.sampled_from(["asr", "mt", "parameters", "compute_config", "model_id", "language", "beam_size", "device"])


bodies = st.dictionaries(
    names, st.dictionaries(names, st.dictionaries(names, json, max_size=3) | json, max_size=3) | json, max_size=3
)


def test_no_body_makes_the_server_fail() -> None:
    async def run(changes: list[object]) -> None:
        async with opened() as client:
            sid = await client.session()
            for change in changes:
                body = orjson.dumps(change, option=orjson.OPT_PASSTHROUGH_DATACLASS)
                headers = {"Content-Type": "application/json"}
                async with client.http.put(CONFIG.format(sid), data=body, headers=headers) as response:
                    answer = await response.json()
                    assert response.status < 500, (change, answer)
                    interface = "UpdateModelConfigResponse" if response.status == 200 else "ErrorResponse"
                    conforms("models", interface, answer)

    @settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(bodies, min_size=60, max_size=60))
    def attempt(changes: list[object]) -> None:
        asyncio.run(run(changes))

    attempt()
