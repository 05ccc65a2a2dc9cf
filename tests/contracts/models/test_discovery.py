"""Contract 3, Model Discovery: the lists of speech and translation models, and the languages of each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest

from backends.base import EngineSpec, ModelSpec
from proxy.contracts.models.discovery import asr_models
from proxy.contracts.models.recommended import Machine
from proxy.registry.catalog import read_catalog
from proxy.registry.config import load_registry
from proxy.registry.models import ModelEntry, Registry
from proxy.settings import Settings
from tests.contracts.schema import conforms
from tests.support import serve_app

# JSON, which the schemas check.
Body: TypeAlias = dict[str, Any]

NANO = Path(__file__).parents[3] / "backends" / "nano" / "switchboard.toml"

EXAMPLE: Body = json.loads((Path(__file__).parent / "examples" / "ASRModelsResponse.json").read_text())
TINY: Body = EXAMPLE["models"][0]
# What the example says of the model, and not of how well or how large somebody found it.
SAID = ("model_id", "display_name", "provider", "languages", "size_category", "features")
USE_CASES = {"real_time", "accuracy", "multilingual", "low_resource"}


@pytest.fixture
def shipped() -> Registry:
    """The shipped models, as `make run` configures them."""
    registry = load_registry(Settings(config=NANO))
    return replace(registry, models=tuple(replace(model, preload=False) for model in registry.models))


@pytest.fixture
async def door(shipped: Registry) -> AsyncIterator[str]:
    """The door in front of them."""
    async with serve_app(shipped) as url:
        yield url


async def get(door: str, path: str, status: int = 200) -> Body:
    async with aiohttp.ClientSession() as client, client.get(f"{door}{path}") as response:
        assert response.status == status, await response.text()
        body = await response.json()
    assert isinstance(body, dict)
    return body


def by_id(models: list[Body]) -> dict[str, Body]:
    return {model["model_id"]: model for model in models}


def test_the_contracts_example_is_what_the_interface_says() -> None:
    conforms("models", "ASRModelsResponse", EXAMPLE)


async def test_speech_models_are_listed_as_the_interface_says(door: str) -> None:
    body = await get(door, "/api/models/asr")
    conforms("models", "ASRModelsResponse", body)
    models = by_id(body["models"])
    tiny, large = models["openai/whisper-tiny.en"], models["openai/whisper-large-v3"]
    assert {key: tiny[key] for key in SAID} == {key: TINY[key] for key in SAID}
    assert tiny.keys() == TINY.keys()
    assert tiny["hardware_requirements"].keys() == {*TINY["hardware_requirements"], "gpu_memory_mb"}
    assert large["features"] == {**TINY["features"], "multilingual": True, "real_time": False}
    assert len(models["openai/whisper-large-v3"]["languages"]) == 100
    assert models["openai/whisper-tiny.en"]["benchmarks"] == {"wer_english": 0.0566, "rtf": 0.00287}


async def test_the_shipped_model_is_listed_and_the_default(door: str) -> None:
    body = await get(door, "/api/models/asr")
    assert body["default_model"] == "nano-whisper"
    nano = by_id(body["models"])["nano-whisper"]
    assert nano["size_mb"] == 4
    assert nano["quality_score"] == 0
    assert "benchmarks" not in nano


async def test_what_a_model_took_here_is_told(shipped: Registry) -> None:
    async with serve_app(shipped) as url:
        assert "benchmarks" not in by_id((await get(url, "/api/models/mt?limit=1"))["models"])["nano-translate"]
        asked = {"task": "translation_en_to_fr", "inputs": "What time is it?"}
        async with aiohttp.ClientSession() as client, client.post(f"{url}/infer", json=asked) as response:
            assert response.status == 200, await response.text()
        benchmarks = by_id((await get(url, "/api/models/mt?limit=1"))["models"])["nano-translate"]["benchmarks"]
    assert benchmarks.keys() == {"latency_ms"}
    assert benchmarks["latency_ms"] > 0


async def test_one_model_is_recommended_for_each_use(door: str) -> None:
    body = await get(door, "/api/models/asr")
    models = by_id(body["models"])
    recommendations = body["recommendations"]
    found = {item["use_case"]: item["recommended_model"] for item in recommendations}
    assert set(found) == USE_CASES
    assert set(found.values()) <= set(models)
    assert models[found["real_time"]]["features"]["real_time"]
    assert models[found["multilingual"]]["features"]["multilingual"]
    assert found["low_resource"] == "openai/whisper-tiny.en"


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (
            Machine(cores=2, ram_mb=2000),
            {"real_time": "openai/whisper-small.en", "accuracy": "openai/whisper-small.en"},
        ),
        (Machine(cores=16, ram_mb=64_000), {"accuracy": "openai/whisper-large-v3-turbo"}),
        (Machine(cores=4, ram_mb=8000, gpu_mb=8000), {"real_time": "openai/whisper-large-v3-turbo"}),
        (Machine(cores=1, ram_mb=1), {}),
    ],
)
def test_recommendations_are_for_this_machine(machine: Machine, expected: dict[str, str]) -> None:
    body: Body = asr_models(read_catalog(), Registry(), machine)
    recommendations = body["recommendations"]
    found = {item["use_case"]: item["recommended_model"] for item in recommendations}
    assert {case: found.get(case) for case in expected} == expected
    assert machine.ram_mb > 1 or not found


async def test_translation_models_are_listed_as_the_interface_says(door: str) -> None:
    body = await get(door, "/api/models/mt?limit=100")
    conforms("models", "MTModelsResponse", body)
    models = by_id(body["models"])
    nllb = models["facebook/nllb-200-distilled-600M"]
    assert (nllb["architecture"], nllb["provider"], nllb["size_mb"]) == ("nllb", "facebook", 2460)
    assert nllb["language_pairs_count"] == 202 * 201
    assert models["facebook/m2m100_418M"]["architecture"] == "m2m"
    assert models["facebook/mbart-large-50-many-to-many-mmt"]["architecture"] == "mbart"
    opus = models["Helsinki-NLP/opus-mt-en-de"]
    assert (opus["architecture"], opus["provider"], opus["supported_languages"]) == ("opus-mt", "opus", ["en", "de"])
    assert (opus["language_pairs_count"], opus["features"]["zero_shot"]) == (1, False)
    assert body["default_model"] == "nano-translate"
    assert models["nano-translate"]["supported_languages"] == ["en", "es", "fr", "de"]


async def test_all_pairs_are_there_where_nobody_asks_for_few(door: str) -> None:
    async with aiohttp.ClientSession() as client, client.get(f"{door}/api/models/mt") as response:
        pairs = (await response.json())["language_pairs"]
        assert response.headers["Content-Encoding"] == "deflate"
        assert (response.headers["X-Total-Count"], "Link" in response.headers) == (str(len(pairs)), False)
    assert {("en", "zh"), ("zh", "en"), ("yo", "cjk")} <= {(pair["source"], pair["target"]) for pair in pairs}
    whole = await get(door, "/api/languages/mt/facebook/nllb-200-1.3B")
    spoken = len(whole["languages"])
    assert len(whole["pairs"]) == spoken * (spoken - 1)
    headers = {"Accept-Encoding": "identity"}
    async with aiohttp.ClientSession() as client, client.get(f"{door}/api/models/mt", headers=headers) as response:
        assert "Content-Encoding" not in response.headers
        assert (await response.json())["language_pairs"] == pairs


@pytest.mark.parametrize("query", ["source=en&target=zh", "source=eng_Latn&target=zho_Hans", "source=EN&target=zh-CN"])
async def test_one_pair_is_found_by_codes_of_any_standard(door: str, query: str) -> None:
    (pair,) = (await get(door, f"/api/models/mt?{query}"))["language_pairs"]
    assert (pair["source"], pair["target"]) == ("en", "zh")
    assert "Helsinki-NLP/opus-mt-en-zh" in pair["supported_models"]


async def test_pairs_come_in_pages_best_first(door: str) -> None:
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{door}/api/models/mt?limit=50") as response:
            first, total, link = await response.json(), int(response.headers["X-Total-Count"]), response.links["next"]
        async with client.get(link["url"]) as response:
            second = await response.json()
    pairs = [*first["language_pairs"], *second["language_pairs"]]
    assert len(pairs) == 100
    assert total > 38_000
    assert [pair["quality_score"] for pair in pairs] == sorted((pair["quality_score"] for pair in pairs), reverse=True)
    assert len({(pair["source"], pair["target"]) for pair in pairs}) == 100


async def test_pairs_are_narrowed_by_source_and_target(door: str) -> None:
    body = await get(door, "/api/models/mt?source=en&target=de")
    (pair,) = body["language_pairs"]
    assert (pair["source"], pair["target"]) == ("en", "de")
    assert {"Helsinki-NLP/opus-mt-en-de", "facebook/nllb-200-3.3B", "nano-translate"} <= set(pair["supported_models"])
    assert "Helsinki-NLP/opus-mt-de-en" not in pair["supported_models"]
    assert (await get(door, "/api/models/mt?source=tlh"))["language_pairs"] == []


async def test_the_last_page_has_no_next(door: str) -> None:
    async with aiohttp.ClientSession() as client, client.get(f"{door}/api/models/mt?source=en&target=de") as response:
        assert response.headers["X-Total-Count"] == "1"
        assert "Link" not in response.headers


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=ten", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("offset=-1", "offset"),
        ("offset=²", "offset"),
        ("page=2", "page"),
    ],
)
async def test_a_wrong_query_is_refused_by_name(door: str, query: str, field: str) -> None:
    body = await get(door, f"/api/models/mt?{query}", status=400)
    conforms("models", "ErrorResponse", body)
    error = body["error"]
    assert (error["code"], error["details"]) == ("CONFIGURATION_ERROR", {"field": field})


async def test_a_list_without_parameters_takes_none(door: str) -> None:
    body = await get(door, "/api/models/asr?language=de", status=400)
    assert body["error"]["details"] == {"field": "language"}


@pytest.mark.parametrize("path", ["facebook/nllb-200-distilled-600M", "facebook%2Fnllb-200-distilled-600M"])
async def test_languages_of_a_model_whether_its_slash_is_encoded_or_not(door: str, path: str) -> None:
    body = await get(door, f"/api/languages/mt/{path}?limit=100")
    conforms("models", "LanguageSupportResponse", body)
    assert body["model_id"] == "facebook/nllb-200-distilled-600M"
    languages = body["languages"]
    found = {language["code"]: language for language in languages}
    assert found["ar"]["direction"] == "rtl"
    assert found["de"] == {
        "code": "de",
        "name": "German",
        "native_name": "Deutsch",
        "script": "Latin",
        "direction": "ltr",
        "quality_tier": "high",
        "resource_level": "high",
    }
    assert found["zh"]["variants"] == [
        {"code": "zh-CN", "name": "Chinese (Simplified)", "region": "China"},
        {"code": "zh-TW", "name": "Chinese (Traditional)", "region": "Taiwan"},
    ]
    assert sum(len(language.get("variants", [0])) for language in languages) == 202
    assert found["yo"]["quality_tier"] == "low"
    recommendations = body["recommendations"]
    advice = {item["source_language"]: item["recommended_targets"] for item in recommendations}
    assert advice["de"][0] == "en"
    assert "de" not in advice["de"]


async def test_pairs_of_one_model_alone(door: str) -> None:
    body = await get(door, "/api/languages/mt/Helsinki-NLP/opus-mt-en-fr")
    conforms("models", "LanguageSupportResponse", body)
    (pair,) = body["pairs"]
    assert (pair["source"], pair["target"]) == ("en", "fr")
    assert "facebook/m2m100_418M" in pair["supported_models"]


async def test_pairs_of_a_model_are_paged_and_narrowed(door: str) -> None:
    path = "/api/languages/mt/nano-translate"
    assert len((await get(door, path))["pairs"]) == 12
    assert len((await get(door, f"{path}?source=en"))["pairs"]) == 3
    assert len((await get(door, f"{path}?limit=5&offset=10"))["pairs"]) == 2


@pytest.mark.parametrize(
    ("model", "score", "tier"),
    [
        ("nano-translate", 0, "low"),
        ("facebook/mbart-large-50-many-to-many-mmt", 0, "low"),
        ("Helsinki-NLP/opus-mt-en-zh", 46, "medium"),
        ("Helsinki-NLP/opus-mt-pl-en", 80, "high"),
    ],
)
async def test_a_language_that_was_not_measured_is_as_good_as_its_model(
    door: str, model: str, score: int, tier: str
) -> None:
    assert by_id((await get(door, "/api/models/mt?limit=1"))["models"])[model]["quality_score"] == score
    body = await get(door, f"/api/languages/mt/{model}")
    assert {language["quality_tier"] for language in body["languages"]} == {tier}
    assert {pair["quality_score"] for pair in body["pairs"]} == {score}
    if not score:
        assert body["recommendations"] == []  # by what should they be?


@pytest.mark.parametrize("model", ["nobody/knows-it", "openai/whisper-tiny.en", "x" * 5000, "..%2F..%2Fetc"])
async def test_languages_of_what_is_no_translation_model(door: str, model: str) -> None:
    body = await get(door, f"/api/languages/mt/{model}", status=404)
    conforms("models", "ErrorResponse", body)
    error = body["error"]
    assert error["code"] == "MODEL_NOT_FOUND"


async def test_paths_and_methods_that_are_not_there_answer_in_the_contracts_shape(door: str) -> None:
    conforms("models", "ErrorResponse", await get(door, "/api/languages/asr", status=404))
    async with aiohttp.ClientSession() as client, client.post(f"{door}/api/models/asr") as response:
        assert response.status == 405
        body = await response.json()
    conforms("models", "ErrorResponse", body)
    assert body["error"]["code"] == "METHOD_NOT_ALLOWED"


async def test_models_that_the_catalog_does_not_know_are_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--someone--tuned" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text('{"model_type": "m2m_100"}')
    codes = {"additional_special_tokens": ["deu_Latn", "fra_Latn", "tlh_Latn", "<mask>"]}
    (snapshot / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "NllbTokenizer", **codes}))
    nano = NANO.parent
    engines = {
        "whisper": EngineSpec(name="whisper", kind="whisper", diarization_model="pyannote/some-pipeline"),
        "vllm": EngineSpec(name="vllm", kind="vllm", urls=("http://127.0.0.1:9",)),
        "translation": EngineSpec(name="translation", kind="translation"),
    }
    entries = (
        ModelEntry(name="mine", engine="whisper", spec=ModelSpec(source=str(nano / "whisper")), task="transcription"),
        ModelEntry(name="far", engine="vllm", spec=ModelSpec(source="openai/whisper-small"), task="transcription"),
        ModelEntry(name="new", engine="vllm", spec=ModelSpec(source="google/not-yet"), task="transcription"),
        ModelEntry(name="dark", engine="vllm", spec=ModelSpec(source="dark"), task="transcription"),
        ModelEntry(name="ours", engine="translation", spec=ModelSpec(source="someone/else"), task="translation"),
        ModelEntry(name="tuned", engine="translation", spec=ModelSpec(source="someone/tuned"), task="translation"),
    )
    async with serve_app(Registry(engines=engines, models=entries, defaults={"transcription": "mine"})) as url:
        speech, translation = await get(url, "/api/models/asr"), await get(url, "/api/models/mt?limit=100")
    models = by_id(speech["models"])
    mine = models["mine"]
    assert (mine["size_category"], mine["size_mb"], mine["quality_score"]) == ("tiny", 4.0, 0)
    assert mine["features"]["diarization"] and mine["provider"] == "openai"
    far = models["far"]
    assert (far["quality_score"], far["features"]["timestamps"]) == (86, False)
    assert "nano-whisper" not in models
    assert (models["new"]["provider"], "size_category" in models["new"]) == ("google", False)
    # Of a model of which nobody knows anything nothing is said, but for numbers that must be there.
    dark = models["dark"]
    assert not {"provider", "size_category", "benchmarks"} & set(dark)
    assert (dark["size_mb"], dark["memory_requirement_mb"], dark["quality_score"], dark["speed_score"]) == (0, 0, 0, 0)
    assert dark["hardware_requirements"] == {"min_cpu_cores": 0, "min_ram_mb": 0, "gpu_recommended": False}
    unknown = by_id(translation["models"])["ours"]
    assert not {"provider", "architecture", "size_category"} & set(unknown)
    assert (unknown["supported_languages"], unknown["language_pairs_count"]) == ([], 0)
    tuned = by_id(translation["models"])["tuned"]
    assert (tuned["provider"], tuned["architecture"]) == ("facebook", "nllb")
    assert (tuned["supported_languages"], tuned["language_pairs_count"]) == (["de", "fr"], 2)
    assert translation["default_model"] == ""
    for body, names, interface in (
        (speech, ("new", "dark"), "ASRModelsResponse"),
        (translation, ("ours", "tuned"), "MTModelsResponse"),
    ):
        conforms(
            "models", interface, {**body, "models": [each for each in body["models"] if each["model_id"] not in names]}
        )
