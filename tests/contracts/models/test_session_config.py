"""Contract 3, Model Configuration: what a session says of its models, and what it is told of changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from backends.base import EngineSpec
from tests.contracts.models.session_door import CONFIG, Body, Client, moment, opened, registry, upload
from tests.contracts.schema import conforms


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


async def test_a_change_that_changes_nothing_leaves_no_trace(client: Client) -> None:
    sid = await client.session(mt={"target_language": "fr"})
    before = await client.call("GET", f"/api/sessions/{sid}")
    async with client.http.ws_connect(f"/ws/{sid}") as socket:
        await socket.send_json({"v": 1, "t": "session.hello"})
        assert (await socket.receive_json(timeout=10))["t"] == "session.welcome"
        same: list[Body] = [{}, {"mt": {}}, {"mt": {"target_language": "fr"}}, {"apply_immediately": False}]
        for change in same:
            answer = await client.configure(sid, change)
            assert (answer["updated_at"], answer["config"]) == (before["updated_at"], before["config"])
        after = await client.call("GET", f"/api/sessions/{sid}")
        assert (after["updated_at"], after["config"], "next_config" in after) == (
            before["updated_at"],
            before["config"],
            False,
        )
        await client.configure(sid, {"mt": {"target_language": "de"}})
        told = await socket.receive_json(timeout=10)
        assert told["data"]["config"]["mt"]["target_language"] == "de"


async def test_an_empty_model_id_is_the_doors_own_model() -> None:
    async with opened(registry()) as client:
        sid = await client.session(asr={"model_id": "ears-2"}, mt={"model_id": ""})
        config = (await client.configure(sid, {"asr": {"model_id": ""}}))["config"]
        assert (config["asr"]["model_id"], config["mt"]["model_id"]) == ("ears", "words")
        await client.call("POST", f"/asr?session_id={sid}", data=upload())
    async with opened(replace(registry(), models=(), defaults={})) as client:
        sid = await client.session()
        shown = await client.call("GET", CONFIG.format(sid))
        assert (shown["asr"]["model_id"], shown["mt"]["model_id"]) == ("", "")


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


async def test_a_model_of_an_engine_elsewhere() -> None:
    nowhere = EngineSpec(name="gpu", kind="vllm", urls=("http://127.0.0.1:9",))
    async with opened(registry(gpu=nowhere)) as client:
        sid = await client.session(asr={"model_id": "ears-gpu", "language": "de"})
        conforms("models", "ModelConfig", await client.call("GET", CONFIG.format(sid)))
        error = await client.refused(sid, {"asr": {"compute_config": {"device": "cpu"}}})
        assert (error["code"], error["details"]["field"]) == ("CONFIGURATION_ERROR", "asr.compute_config.device")
