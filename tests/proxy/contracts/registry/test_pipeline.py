"""Section 2.2: tasks on registered models, their parameters written flat."""

from __future__ import annotations

import orjson
import pytest

from backends.types import Infer, Inferred, Translate, Translated
from proxy.registry.rows import TYPES
from tests.proxy.contracts.registry.conftest import Body, Client
from tests.support import ScriptedBackend

INPUTS: Body = {
    "question-answering": {"question": "Who?", "context": "Me."},
    "conversational": [{"role": "user", "content": "Hi"}],
}


@pytest.mark.parametrize("task", [task for task in TYPES if task != "translation"])
async def test_each_type_of_the_table_is_a_task(ask: Client, backend: ScriptedBackend, task: str) -> None:
    await ask.add("m", task)
    inputs = INPUTS.get(task, "text")
    status, body = await ask("POST", "/pipeline", {"model_id": "m", "task": task, "inputs": inputs})
    assert status == 200
    assert body == {
        "success": True,
        "results": [{"task": task, "inputs": inputs}],
        "model_used": "m",
        "task": task,
        "inputs": inputs,
        "model_info": {"model_id": "m", "name": "M", "model_type": task},
    }
    assert (await ask("GET", "/models/m"))[1]["model"]["usage_count"] == 1


async def test_translation_goes_to_the_engine_made_for_it(ask: Client, backend: ScriptedBackend) -> None:
    backend.script = lambda _: [Translated(1, "deux", "en", "fr"), Translated(0, "un", "en", "fr")]
    await ask.add("m", "translation", parameters={"num_beams": 2, "tgt_lang": "fr"})
    sent = {"model_id": "m", "task": "translation", "inputs": ["one", "two"], "src_lang": "en", "num_beams": 3}
    _, body = await ask("POST", "/pipeline", sent)
    assert body["results"] == [{"translation_text": "un"}, {"translation_text": "deux"}]
    assert backend.requests == [Translate(texts=("one", "two"), source="en", target="fr", beam_size=3)]


async def test_parameters_stand_beside_the_inputs(ask: Client, backend: ScriptedBackend) -> None:
    await ask.add("facebook/bart-large-cnn", "summarization", parameters={"max_length": 50, "num_beams": 2})
    sent = {"model_id": "facebook/bart-large-cnn", "task": "summarization", "inputs": ["a", "b"]}
    await ask("POST", "/pipeline", {**sent, "max_length": 130, "min_length": 30, "do_sample": False})
    params = {"num_beams": 2, "max_length": 130, "min_length": 30, "do_sample": False}
    assert backend.requests == [Infer(task="summarization", inputs=["a", "b"], params=params)]


async def test_stored_parameters_are_those_of_the_models_own_task(ask: Client, backend: ScriptedBackend) -> None:
    await ask.add("m", parameters={"top_k": 3, "max_new_tokens": 5})
    sent = {"model_id": "m", "inputs": "text"}
    await ask("POST", "/pipeline", {**sent, "task": "text-generation", "max_length": 9})
    await ask("POST", "/pipeline", {**sent, "task": "feature-extraction"})
    assert [request.params for request in backend.requests if isinstance(request, Infer)] == [
        {"top_k": 3, "max_length": 9},
        {},
    ]


async def test_results_are_a_list_whatever_the_task_returns(ask: Client, backend: ScriptedBackend) -> None:
    backend.script = lambda _: [Inferred(orjson.dumps({"answer": "me", "score": 1.0}))]
    await ask.add("m", "question-answering")
    sent = {"model_id": "m", "task": "question-answering", "inputs": INPUTS["question-answering"]}
    assert (await ask("POST", "/pipeline", sent))[1]["results"] == [{"answer": "me", "score": 1.0}]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"task": "juggling"}, "`juggling`"),
        ({"task": 5}, "`task`"),
        ({"inputs": 5}, "`inputs`"),
        ({"max_lenght": 5}, "`max_lenght`"),
        ({"max_length": "long"}, "`max_length`"),
        ({"trust_remote_code": True}, "`trust_remote_code`"),
        ({"model_id": 5}, "`model_id`"),
    ],
)
async def test_nonsense_is_refused_by_name(ask: Client, backend: ScriptedBackend, wrong: Body, named: str) -> None:
    await ask.add("m", "summarization")
    status, body = await ask("POST", "/pipeline", {"model_id": "m", "task": "summarization", "inputs": "t", **wrong})
    assert (status, body["success"]) == (400, False)
    assert named in body["error"]
    assert "params." not in body["error"]
    assert backend.requests == []


async def test_what_is_missing_and_who_is_unknown(ask: Client) -> None:
    whole = {"model_id": "m", "task": "summarization", "inputs": "t"}
    for field in whole:
        sent = {name: value for name, value in whole.items() if name != field}
        told = {"success": False, "error": f"Missing required field: {field}"}
        assert await ask("POST", "/pipeline", sent) == (400, told)
    assert await ask("POST", "/pipeline", whole) == (404, {"success": False, "error": "Model 'm' not found"})
