"""Contract 3, Model Configuration: sessions, what they say of their models, and what is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.base import EngineSpec
from tests.contracts.models.session_door import CONFIG, Body, Client, opened, registry, upload
from tests.contracts.schema import conforms


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with opened(max_body_mb=0.1) as client:
        yield client


def moment(text: str) -> datetime:
    """ISO 8601, as the contract writes times."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    return datetime.fromisoformat(text)


# --------------------------------------------------------------------------- sessions


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


# --------------------------------------------------------------------------- configuration


async def test_the_whole_configuration_of_a_new_session(client: Client) -> None:
    config = await client.call("GET", CONFIG.format(await client.session()))
    conforms("models", "ModelConfig", config)
    assert config == {
        "asr": {
            "model_id": "ears",
            "task": "transcribe",
            "parameters": {
                "beam_size": 5,
                "best_of": 5,
                "temperature": 0.0,
                "compression_ratio_threshold": 2.4,
                "logprob_threshold": -1.0,
                "no_speech_threshold": 0.6,
                "condition_on_previous_text": False,
            },
            "compute_config": {"device": "auto", "compute_type": "float32"},
        },
        "mt": {
            "model_id": "words",
            "target_language": "",
            "parameters": {
                "beam_size": 5,
                "length_penalty": 1.0,
                "no_repeat_ngram_size": 0,
                "max_input_length": 1_000_000,
                "max_new_tokens": 512,
                "early_stopping": True,
            },
            "compute_config": {"device": "auto", "compute_type": "int8", "batch_size": 32},
        },
    }


async def test_a_partial_change_leaves_the_rest(client: Client) -> None:
    sid = await client.session(asr={"language": "de"})
    before = await client.call("GET", CONFIG.format(sid))
    change = {"asr": {"parameters": {"beam_size": 2}}, "mt": {"target_language": "fr"}}
    answer = await client.configure(sid, change)
    conforms("models", "UpdateModelConfigResponse", answer)
    before["asr"]["parameters"]["beam_size"] = 2
    before["mt"]["target_language"] = "fr"
    assert (answer["config"], answer["restart_required"]) == (before, False)
    assert await client.call("GET", CONFIG.format(sid)) == before
    session = await client.call("GET", f"/api/sessions/{sid}")
    assert session["updated_at"] == answer["updated_at"]
    assert moment(answer["updated_at"]) > moment(session["created_at"])


async def test_every_field_may_be_said_and_is_shown(client: Client) -> None:
    config: Body = {
        "asr": {
            "model_id": "ears-2",
            "language": "de",
            "task": "translate",
            "parameters": {
                "beam_size": 1,
                "best_of": 2,
                "temperature": 0.25,
                "compression_ratio_threshold": 3.5,
                "logprob_threshold": -2.5,
                "no_speech_threshold": 0.125,
                "condition_on_previous_text": True,
                "initial_prompt": "Émma 你好",
            },
            "compute_config": {"device": "cpu", "compute_type": "int8", "cpu_threads": 1},
        },
        "mt": {
            "model_id": "words-2",
            "source_language": "en",
            "target_language": "zho_Hans",
            "parameters": {
                "beam_size": 2,
                "length_penalty": -0.5,
                "no_repeat_ngram_size": 4,
                "max_input_length": 100,
                "max_new_tokens": 50,
                "early_stopping": False,
            },
            "compute_config": {"device": "cpu", "compute_type": "float32", "batch_size": 8},
        },
    }
    conforms("models", "ModelConfig", config)
    sid = await client.session()
    assert (await client.configure(sid, config))["config"] == config
    assert await client.call("GET", CONFIG.format(await client.session(**config))) == config
    # What GET answers may be sent back as it is, and null takes it back.
    assert (await client.configure(sid, config))["config"] == config
    back = (await client.configure(sid, {"asr": None, "mt": None}))["config"]
    assert back == await client.call("GET", CONFIG.format(await client.session()))


async def test_null_clears_an_optional_field(client: Client) -> None:
    optional = {"asr": {"language": "de", "parameters": {"initial_prompt": "Hi"}}, "mt": {"source_language": "en"}}
    sid = await client.session(**optional)
    cleared = {"asr": {"language": None, "parameters": {"initial_prompt": None}}, "mt": {"source_language": None}}
    assert (await client.configure(sid, cleared))["config"] == await client.call(
        "GET", CONFIG.format(await client.session())
    )


async def test_later_changes_wait_for_the_next_connection(client: Client) -> None:
    sid = await client.session()
    now = await client.call("GET", CONFIG.format(sid))
    answer = await client.configure(sid, {"mt": {"target_language": "fr"}, "apply_immediately": False})
    conforms("models", "UpdateModelConfigResponse", answer)
    assert answer["config"]["mt"]["target_language"] == "fr"
    session = await client.call("GET", f"/api/sessions/{sid}")
    assert (session["config"], session["next_config"]) == (now, answer["config"])
    assert await client.call("GET", CONFIG.format(sid)) == now
    async with client.http.ws_connect(f"/ws/{sid}"):
        async with asyncio.timeout(10):
            while "next_config" in (session := await client.call("GET", f"/api/sessions/{sid}")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert session["config"] == answer["config"]


async def test_an_open_connection_is_told_of_changes_and_of_the_end(client: Client) -> None:
    sid = await client.session()
    async with client.http.ws_connect(f"/ws/{sid}") as socket:
        await socket.send_json({"v": 1, "t": "session.hello", "sid": sid, "data": {}})
        assert (await socket.receive_json(timeout=10))["t"] == "session.welcome"
        await client.configure(sid, {"asr": {"language": "es"}, "apply_immediately": False})
        answer = await client.configure(sid, {"mt": {"target_language": "fr"}})
        told = await socket.receive_json(timeout=10)
        assert (told["t"], told["sid"]) == ("session.config.updated", sid)
        assert told["data"] == {name: answer[name] for name in ("updated_at", "config", "restart_required")}
        assert told["data"]["config"]["asr"]["language"] == "es"
        await client.call("DELETE", f"/api/sessions/{sid}")
        closed = await socket.receive_json(timeout=10)
        assert (closed["t"], closed["data"]) == ("session.closed", {"reason": "deleted"})


async def test_a_restart_is_told_where_a_model_that_runs_is_exchanged(client: Client) -> None:
    sid = await client.session()
    body = {"task": "translation", "inputs": "hello", "session_id": sid}
    assert (await client.configure(sid, {"mt": {"model_id": "words-2"}}))["restart_required"] is False
    await client.call("POST", "/infer", json=body)
    back = await client.configure(sid, {"mt": {"model_id": "words"}})
    assert (back["restart_required"], "estimated_restart_time_ms" in back) == (True, False)
    await client.call("POST", "/infer", json=body)
    # Both are loaded now: going to and fro costs nothing.
    assert (await client.configure(sid, {"mt": {"model_id": "words-2"}}))["restart_required"] is False
    anew = await client.configure(sid, {"mt": {"compute_config": {"compute_type": "float32"}}})
    assert anew["restart_required"] is True
    conforms("models", "UpdateModelConfigResponse", anew)


# --------------------------------------------------------------------------- what is refused


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


# --------------------------------------------------------------------------- where the database is


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


async def test_a_model_of_an_engine_elsewhere() -> None:
    nowhere = EngineSpec(name="gpu", kind="vllm", urls=("http://127.0.0.1:9",))
    async with opened(registry(gpu=nowhere)) as client:
        sid = await client.session(asr={"model_id": "ears-gpu", "language": "de"})
        conforms("models", "ModelConfig", await client.call("GET", CONFIG.format(sid)))
        error = await client.refused(sid, {"asr": {"compute_config": {"device": "cpu"}}})
        assert (error["code"], error["details"]["field"]) == ("CONFIGURATION_ERROR", "asr.compute_config.device")
