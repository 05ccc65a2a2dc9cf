"""Sections 1.6 and 3: what is in memory, statistics, types, dependencies."""

from __future__ import annotations

import pytest

from backends.base import ModelSpec, Report
from tests.proxy.contracts.registry.conftest import Client, script
from tests.proxy.contracts.registry.test_models import TIME
from tests.support import ScriptedBackend


class Counting(ScriptedBackend):
    """A backend that notes loads and unloads."""

    def __init__(self) -> None:
        super().__init__(script)
        self.steps: list[str] = []

    async def load(self, model: ModelSpec, report: Report) -> None:
        self.steps.append(f"load {model.label}")

    async def unload(self, model: ModelSpec) -> None:
        self.steps.append(f"unload {model.label}")


@pytest.fixture
def backend() -> Counting:
    return Counting()


async def test_a_model_is_loaded_once_and_anew_by_force(ask: Client, backend: Counting) -> None:
    await ask.add("m", name="M")
    status, body = await ask("POST", "/models/m/load")
    assert status == 200
    assert body.pop("device") in ("cpu", "cuda")
    assert body == {
        "success": True,
        "message": "Model 'm' loaded successfully",
        "model_info": {"model_id": "m", "name": "M", "model_type": "text-generation"},
    }
    await ask("POST", "/models/m/load", {"force_reload": False})
    assert backend.steps == ["load m"]
    await ask("POST", "/models/m/load", {"force_reload": True})
    assert backend.steps == ["load m", "unload m", "load m"]


@pytest.mark.parametrize("wrong", [{"force_reload": "yes"}, {"force": True}, {"force_reload": None}])
async def test_nonsense_loads_nothing(ask: Client, backend: Counting, wrong: dict[str, object]) -> None:
    await ask.add("m")
    assert (await ask("POST", "/models/m/load", wrong))[0] == 400
    assert (await ask("POST", "/models/n/load"))[0] == 404
    assert backend.steps == []


async def test_the_cache_is_told_and_cleared(ask: Client, backend: Counting) -> None:
    empty = {"success": True, "cached_models": {}, "cached_pipelines": [], "total_cached": 0}
    assert await ask("GET", "/cache") == (200, empty)
    await ask.add("a")
    await ask.add("b", "summarization")
    await ask("POST", "/models/a/load")
    await ask("POST", "/pipeline", {"model_id": "b", "task": "summarization", "inputs": "t"})
    _, body = await ask("GET", "/cache")
    assert (body["cached_pipelines"], body["total_cached"]) == (["b_summarization"], 2)
    assert {name: each["model_type"] for name, each in body["cached_models"].items()} == {
        "a": "text-generation",
        "b": "summarization",
    }
    assert all(TIME.fullmatch(each["loaded_at"]) for each in body["cached_models"].values())
    assert await ask("DELETE", "/cache?model_id=a") == (
        200,
        {"success": True, "message": "Cache cleared for model 'a'"},
    )
    assert list((await ask("GET", "/cache"))[1]["cached_models"]) == ["b"]
    assert await ask("DELETE", "/cache") == (200, {"success": True, "message": "All caches cleared"})
    assert await ask("GET", "/cache") == (200, empty)
    assert (await ask("DELETE", "/cache?model_id=a"))[0] == 200
    assert (await ask("DELETE", "/cache?model_id=nobody"))[0] == 404


@pytest.mark.parametrize("query", ["?model_id=", "?model_id"])
async def test_no_name_is_not_every_name(ask: Client, backend: Counting, query: str) -> None:
    await ask.add("a")
    await ask("POST", "/models/a/load")
    status, body = await ask("DELETE", f"/cache{query}")
    assert (status, "`model_id`" in body["error"]) == (400, True)
    assert backend.steps == ["load a"]


async def test_a_model_in_memory_is_of_the_type_that_it_is_registered_for(ask: Client) -> None:
    await ask.add("a", "conversational")
    await ask.add("b", "sentiment-analysis")
    await ask("POST", "/models/a/load")
    _, before = await ask("GET", "/cache")
    for model_id, task in (("a", "text-generation"), ("b", "sentiment-analysis")):
        assert (await ask("POST", "/pipeline", {"model_id": model_id, "task": task, "inputs": "t"}))[0] == 200
    _, body = await ask("GET", "/cache")
    types = {name: each["model_type"] for name, each in body["cached_models"].items()}
    assert types == {"a": "conversational", "b": "sentiment-analysis"}
    assert body["cached_models"]["a"] == before["cached_models"]["a"]
    assert (len(body["cached_pipelines"]), body["total_cached"]) == (2, 2)


async def test_a_model_that_a_configured_one_serves_is_in_memory_with_it(ask: Client, backend: Counting) -> None:
    """`gpt2` is an alias of `house/chat`: in the cache once it is registered, and cleared by either name."""
    await ask("POST", "/models/gpt2/load")
    assert list((await ask("GET", "/cache"))[1]["cached_models"]) == ["house/chat"]
    await ask.add("gpt2", "conversational")
    _, body = await ask("GET", "/cache")
    assert {name: each["model_type"] for name, each in body["cached_models"].items()} == {
        "house/chat": "text-generation",
        "gpt2": "conversational",
    }
    assert body["total_cached"] == 1
    assert (await ask("DELETE", "/cache?model_id=gpt2"))[0] == 200
    assert (await ask("GET", "/cache"))[1]["total_cached"] == 0
    assert len(backend.steps) == 2


async def test_statistics_count_models_and_uses(ask: Client) -> None:
    _, body = await ask("GET", "/statistics")
    assert body["statistics"]["most_used"] is None
    await ask.add("a", name="A")
    await ask.add("b", "conversational")
    for model_id in ("a", "a", "b"):
        await ask("POST", "/generate", {"model_id": model_id, "prompt": "p"})
    _, body = await ask("GET", "/statistics")
    assert TIME.fullmatch(body["statistics"].pop("last_updated"))
    assert body == {
        "success": True,
        "statistics": {
            "total_models": 3,
            "total_usage": 3,
            "model_types": {"text-generation": 2, "conversational": 1},
            "most_used": {"model_id": "a", "name": "A", "usage_count": 2},
        },
    }


async def test_model_types_are_listed_once(ask: Client) -> None:
    for number, kind in enumerate(("text2text-generation", "conversational", "conversational")):
        await ask.add(f"m{number}", kind)
    types = ["conversational", "text-generation", "text2text-generation"]
    assert await ask("GET", "/model-types") == (200, {"success": True, "model_types": types})


async def test_dependencies(ask: Client) -> None:
    _, body = await ask("GET", "/dependencies")
    assert {name: type(value) for name, value in body.pop("dependencies").items()} == {
        "transformers": bool,
        "torch": bool,
        "cuda_available": bool,
    }
    assert body == {"success": True}
