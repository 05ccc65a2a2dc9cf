"""Contract 3, Error Handling: each code, reached the way that clients reach it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from proxy.registry.config import read_registry
from proxy.settings import Settings
from tests.backends.inprocess.hub_server import HubServer, serving
from tests.contracts.models.lifecycle_door import NANO, Body, Door, asking, model, open_door
from tests.proxy.contracts.models.socket_client import world

REMOTE_CONFIG = """\
[[engines]]
name = "far"
kind = "vllm"
url = "http://127.0.0.1:9"

[[models]]
name = "far-whisper"
engine = "far"
task = "transcription"
"""


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path) as door:
        yield door


async def failed(door: Door, name: str, kind: str = "asr", body: Body | None = None) -> Body:
    """Load a model that will not load: the event that says so, and the status that keeps it."""
    async with door.listening() as client:
        await door.act(name, "load", body)
        event = await client.until("model.load.failed")
    status = await door.becomes(name, "error", kind)
    assert status["error_message"] == event["data"]["error_message"]
    assert status["health_check"]["status"] == "unhealthy"
    data = event["data"]
    assert isinstance(data, dict)
    return data


@pytest.mark.parametrize("action", ["load", "unload", "health-check"])
@pytest.mark.parametrize("name", ["nope", "team%2Fnope", "*", "x" * 300, "%2e%2e%2fetc%2fpasswd"])
async def test_model_not_found(door: Door, action: str, name: str) -> None:
    error = await door.refused(name, status=404, action=action)
    assert error["code"] == "MODEL_NOT_FOUND"
    assert len(error["details"]["model_id"]) <= 200


@pytest.fixture
def hub(hub_on_loopback: None) -> Iterator[HubServer]:
    with serving() as hub:
        yield hub


async def test_a_model_that_the_hub_does_not_have(tmp_path: Path, hub: HubServer) -> None:
    missing = model("missing", "team/missing")
    async with open_door(tmp_path, missing, create=asking(hub, tmp_path)) as door:
        assert (await failed(door, "missing"))["error_code"] == "MODEL_NOT_FOUND"


async def test_download_required(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract's list offers it, the hub may not be asked, and it is not here."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    error = await door.refused("openai/whisper-small", status=503)
    assert error["code"] == "DOWNLOAD_REQUIRED"
    assert error["details"]["model_id"] == "openai/whisper-small"
    assert "hf download openai/whisper-small" in error["message"]
    # Requests that it fails are its failures; that somebody asked for a load is none.
    for count, rate in ((0, 0.0), (2, 1.0)):
        for _ in range(count):
            await door.transcribe("openai/whisper-small", b"RIFF", status=404)
        status = await door.status("openai/whisper-small")
        assert (status["inference_count"], status["health_check"]["error_rate"]) == (0, rate)
    assert (status["status"], status["health_check"]["status"]) == ("error", "unhealthy")


async def test_license_error(tmp_path: Path, hub: HubServer) -> None:
    hub.files, hub.gated = {"config.json": b"{}", "model.safetensors": b"weights"}, True
    async with open_door(tmp_path, model("gated", "team/model"), create=asking(hub, tmp_path)) as door:
        event = await failed(door, "gated")
    assert event["error_code"] == "LICENSE_ERROR"
    assert "HF_TOKEN" in event["error_message"]


async def test_insufficient_memory_by_the_catalog(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract's own test, with its alternatives: a large Whisper on a machine that has 2 GB left."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=16 * 10**9, available=2 * 10**9))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    error = await door.refused("openai/whisper-large-v3", status=503)
    assert error["code"] == "INSUFFICIENT_MEMORY"
    details = error["details"]
    assert details["model_id"] == "openai/whisper-large-v3"
    assert details["required_memory_mb"] > details["available_memory_mb"] == 2000
    assert "openai/whisper-small" in details["suggested_alternatives"]
    assert "openai/whisper-medium" not in details["suggested_alternatives"]
    assert "Try int8 quantization" in details["suggestions"]
    assert (await door.status("openai/whisper-large-v3"))["status"] == "not_loaded"


async def test_insufficient_memory_by_the_weights(tmp_path: Path) -> None:
    (tmp_path / "huge").mkdir()
    with (tmp_path / "huge" / "model.safetensors").open("wb") as file:
        file.truncate(10**13)  # of which none is on the disk
    async with open_door(tmp_path / "data", model("huge", tmp_path / "huge")) as door:
        error = await door.refused("huge", status=503)
        assert (error["code"], error["details"]["required_memory_mb"]) == ("INSUFFICIENT_MEMORY", 10**7)
        answer = await door.transcribe("huge", (NANO.parents[2] / "tests/data/speech/01.flac").read_bytes(), status=503)
        assert "needs 10000000 MB" in answer["detail"]


@pytest.mark.parametrize(
    "config", [{"device": "cuda"}, {"compute_type": "float16"}, {"compute_type": "float16", "device": "cpu"}]
)
async def test_unsupported_device(door: Door, config: Body) -> None:
    error = await door.refused("nano-whisper", {"compute_config": config}, status=400)
    assert (error["code"], error["details"]["field"]) == ("UNSUPPORTED_DEVICE", "compute_config")


async def test_loading_timeout(tmp_path: Path) -> None:
    async with open_door(tmp_path, load_timeout_seconds=0.001) as door:
        event = await failed(door, "nano-whisper")
    assert event["error_code"] == "LOADING_TIMEOUT"
    assert "SWITCHBOARD_LOAD_TIMEOUT_SECONDS" in event["error_message"]


async def test_inference_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that loads and cannot compute."""

    def broken(*_: object, **__: object) -> list[object]:
        raise ValueError("boom")

    async with open_door(tmp_path) as door:
        await door.loaded("nano-translate", kind="mt")
        monkeypatch.setattr("backends.translation.engine.CTranslate2Engine.search", broken)
        health = await door.act("nano-translate", "health-check")
        assert health["checks"]["inference"]["status"] == "fail"
        assert "boom" not in health["checks"]["inference"]["message"]
        error = await door.refused("nano-translate", {"preload_cache": True}, status=502)
        assert error["code"] == "INFERENCE_ERROR"
        await door.act("nano-translate", "unload")
        event = await failed(door, "nano-translate", "mt", {"preload_cache": True})
        assert event["error_code"] == "INFERENCE_ERROR"
        assert (await door.status("nano-translate", "mt"))["memory_usage_mb"] == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"priority": "urgent"}, "priority"),
        ({"compute_config": {"device": "tpu"}}, "compute_config.device"),
        ({"compute_config": {"compute_type": "int4"}}, "compute_config.compute_type"),
        ({"compute_config": {"optimization_level": 3}}, "compute_config.optimization_level"),
        ({"compute_config": 3}, "compute_config"),
        ({"preload_cache": "yes"}, "preload_cache"),
        ({"quantize": True}, "quantize"),
    ],
)
async def test_configuration_error(door: Door, body: Body, field: str) -> None:
    error = await door.refused("nano-whisper", body, status=400)
    assert (error["code"], error["details"]["field"]) == ("CONFIGURATION_ERROR", field)


@pytest.mark.parametrize("action", ["unload", "health-check"])
async def test_options_that_are_none_are_refused(door: Door, action: str) -> None:
    error = await door.refused("nano-whisper", {"force": True}, status=400, action=action)
    assert (error["code"], error["details"]["field"]) == ("CONFIGURATION_ERROR", "force")


async def test_a_damaged_model_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"no weights")
    (tmp_path / "damaged" / "config.json").write_bytes(b"{")
    async with open_door(tmp_path / "data", model("damaged", tmp_path / "damaged")) as door:
        assert (await failed(door, "damaged"))["error_code"] == "CONFIGURATION_ERROR"


async def test_models_elsewhere_are_neither_loaded_nor_unloaded(tmp_path: Path) -> None:
    config = tmp_path / "switchboard.toml"
    config.write_text(REMOTE_CONFIG)
    async with world(await asyncio.to_thread(read_registry, config, Settings())) as found:
        door = Door(found)
        answer = await door.act("far-whisper", "load")
        assert (answer["status"], len(answer["warnings"])) == ("loaded", 1)
        assert (await door.status("far-whisper"))["status"] == "loaded"
        assert (await door.act("far-whisper", "health-check"))["checks"]["loading"]["status"] == "pass"
        error = await door.refused("far-whisper", status=400, action="unload")
        assert error["code"] == "CONFIGURATION_ERROR"
        error = await door.refused("far-whisper", {"compute_config": {"device": "cpu"}}, status=400)
        assert (error["code"], error["details"]["field"]) == ("CONFIGURATION_ERROR", "compute_config")
