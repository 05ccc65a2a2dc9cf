"""Contract 3, Model Loading & Unloading: real models, over HTTP and the socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from proxy.keys import LIFECYCLE
from proxy.lifecycle.places import Place
from tests.backends.inprocess.hub_server import serving
from tests.contracts.models.lifecycle_door import NANO, Door, asking, model, open_door

SPEECH = Path(__file__).parents[2] / "data" / "speech" / "01.flac"
CLIP = SPEECH.read_bytes()


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path) as door:
        yield door


def place(door: Door, name: str) -> Place:
    (found,) = [place for place in door.world.app[LIFECYCLE].places() if place.entry.name == name]
    return found


async def test_load_asr_model_successfully(door: Door) -> None:
    """The contract's own test: load, wait for the event, see that it is loaded."""
    async with door.listening() as client:
        answer = await door.act("nano-whisper", "load")
        assert answer == {"model_id": "nano-whisper", "status": "loading", "memory_allocated_mb": 0.0, "warnings": []}
        started = await client.until("model.load.started")
        assert (started["data"]["model_id"], started["data"]["model_type"]) == ("nano-whisper", "asr")
        completed = await client.until("model.load.completed")
    stages = [message["data"]["stage"] for message in client.heard if message["t"] == "model.load.progress"]
    assert stages[0] == "converting"
    assert completed["data"]["ready_for_inference"] is True
    assert completed["data"]["load_time_ms"] > 0
    status = await door.status("nano-whisper")
    assert status["status"] == "loaded"
    assert status["memory_usage_mb"] == completed["data"]["memory_usage_mb"]
    again = await door.act("nano-whisper", "load")
    assert (again["status"], again["memory_allocated_mb"]) == ("loaded", status["memory_usage_mb"])


async def test_switch_model(door: Door) -> None:
    """The contract's `switchModel`: is it loaded? load it, watch it, put it into the session's configuration."""
    sid = await door.world.session()
    if (await door.status("nano-translate", "mt"))["status"] != "loaded":
        await door.act("nano-translate", "load")
        await door.becomes("nano-translate", "loaded", "mt")
    change = {"mt": {"model_id": "nano-translate"}}
    url = f"{door.world.url}/api/sessions/{sid}/models/config"
    async with door.world.http.put(url, json=change) as response:
        assert response.status == 200
        assert (await response.json())["config"]["mt"]["model_id"] == "nano-translate"


async def test_fifty_first_requests_make_one_load(door: Door) -> None:
    async with door.listening() as client:
        answers = await asyncio.gather(*(door.translate("nano-translate", "My dog sleeps.") for _ in range(50)))
        await door.act("nano-translate", "unload")
        await client.until("model.unload.completed")
    assert set(answers) == {"Mon chien dort."}
    kinds = [message["t"] for message in client.heard]
    assert (kinds.count("model.load.started"), kinds.count("model.load.completed")) == (1, 1)


async def test_models_in_a_process_of_their_own_come_and_go_alike(tmp_path: Path) -> None:
    async with open_door(tmp_path, isolation="process") as door:
        held = (await door.loaded("nano-translate", {"preload_cache": True}, "mt"))["memory_usage_mb"]
        assert held > 0
        assert (await door.act("nano-translate", "health-check"))["checks"]["inference"]["latency_ms"] > 0
        await door.act("nano-translate", "load", {"compute_config": {"compute_type": "float32"}})
        await door.becomes("nano-translate", "loaded", "mt")
        assert (await door.act("nano-translate", "unload"))["status"] == "unloaded"


async def test_unloading_frees_and_tells(door: Door) -> None:
    await door.loaded("nano-whisper")
    async with door.listening() as client:
        answer = await door.act("nano-whisper", "unload")
        completed = await client.until("model.unload.completed")
    assert completed["data"]["reason"] == "requested"
    assert answer["memory_freed_mb"] >= 0
    assert (await door.status("nano-whisper"))["status"] == "not_loaded"
    assert (await door.act("nano-whisper", "unload"))["memory_freed_mb"] == 0.0
    await door.transcribe("nano-whisper", CLIP)
    assert (await door.status("nano-whisper"))["status"] == "loaded"


async def test_unloading_waits_for_running_work(door: Door) -> None:
    await door.loaded("nano-whisper")
    clip = asyncio.create_task(door.transcribe("nano-whisper", CLIP))
    async with asyncio.timeout(20):
        while not place(door, "nano-whisper").busy:  # noqa: ASYNC110 - a count that announces nothing
            await asyncio.sleep(0.001)
    unloading = asyncio.create_task(door.act("nano-whisper", "unload"))
    assert (await clip)["result"]["text"].strip()
    await unloading
    assert (await door.status("nano-whisper"))["status"] == "not_loaded"


async def test_another_arithmetic_means_loading_anew(door: Door) -> None:
    await door.loaded("nano-whisper")
    answer = await door.act("nano-whisper", "load", {"compute_config": {"compute_type": "int8"}, "priority": "high"})
    assert answer["status"] == "loading"
    assert answer["warnings"] == ["It is loaded anew when its running requests have ended."]
    await door.becomes("nano-whisper", "loaded")
    spec = place(door, "nano-whisper").model
    assert spec is not None
    assert spec.compute_type == "int8"
    same = await door.act("nano-whisper", "load", {"compute_config": {"compute_type": "int8"}})
    assert same["status"] == "loaded"
    await door.transcribe("nano-whisper", CLIP)


@pytest.mark.parametrize(
    ("config", "compute_type", "warned"),
    [
        ({"optimization_level": "none"}, "float32", False),
        ({"optimization_level": "aggressive"}, "int8", False),
        ({"optimization_level": "basic", "device": "cpu"}, None, False),
        ({"optimization_level": "basic", "compute_type": "int8"}, "int8", False),
        ({"optimization_level": "aggressive", "compute_type": "float32"}, "float32", True),
    ],
)
async def test_optimization_is_arithmetic(door: Door, config: dict[str, str], compute_type: str, warned: bool) -> None:
    answer = await door.act("nano-translate", "load", {"compute_config": config})
    assert any("compute_type `float32` decides" in each for each in answer["warnings"]) is warned
    await door.becomes("nano-translate", "loaded", "mt")
    spec = place(door, "nano-translate").model
    assert spec is not None
    assert (spec.compute_type, spec.device) == (compute_type, config.get("device"))


async def test_warming_up_serves_before_it_counts_as_loaded(door: Door) -> None:
    async with door.listening() as client:
        await door.act("nano-translate", "load", {"preload_cache": True})
        await client.until("model.load.completed")
        stages = [message["data"]["stage"] for message in client.heard if message["t"] == "model.load.progress"]
    assert stages  # those that came too fast after one another are left out
    assert (await door.act("nano-translate", "load", {"preload_cache": True}))["status"] == "loaded"
    assert (await door.status("nano-translate", "mt"))["inference_count"] == 1


async def test_what_was_learned_is_told_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        async with open_door(tmp_path) as door:
            await door.loaded("nano-translate", kind="mt")
    async with open_door(tmp_path) as door, door.listening() as client:
        answer = await door.act("nano-translate", "load")
        assert answer["estimated_load_time_ms"] > 0
        started = await client.until("model.load.started")
        assert started["data"]["estimated_load_time_ms"] == answer["estimated_load_time_ms"]
        await door.becomes("nano-translate", "loaded", "mt")


async def test_ids_with_slashes_are_taken_plain_and_encoded(tmp_path: Path) -> None:
    other = model("team/ears", NANO.parent / "whisper")
    async with open_door(tmp_path, other) as door:
        for name in ("team/ears", "team%2Fears"):
            assert (await door.act(name, "load"))["model_id"] == "team/ears"
            await door.becomes("team/ears", "loaded")
            assert (await door.act(name, "health-check"))["model_id"] == "team/ears"
            assert (await door.act(name, "unload"))["model_id"] == "team/ears"


async def test_at_most_so_many_models_stay_loaded(tmp_path: Path) -> None:
    async with open_door(tmp_path, lx_model_cache_size=1) as door:
        await door.loaded("nano-whisper")
        await door.loaded("nano-translate", kind="mt")
        assert (await door.status("nano-whisper"))["status"] == "not_loaded"
        await door.transcribe("nano-whisper", CLIP)
        assert (await door.status("nano-translate", "mt"))["status"] == "not_loaded"


async def test_idle_models_are_unloaded(tmp_path: Path) -> None:
    async with open_door(tmp_path, lx_auto_unload_timeout_ms=200) as door, door.listening() as client:
        await door.act("nano-translate", "load")
        completed = await client.until("model.unload.completed")
    assert completed["data"]["reason"] == "idle"


async def test_what_the_configuration_preloads_is_there_from_the_start_and_stays(tmp_path: Path) -> None:
    kept = replace(model("kept", NANO.parent / "translate", "translation", "translation"), preload=True)
    async with (
        open_door(tmp_path, kept, lx_model_cache_size=1, lx_auto_unload_timeout_ms=100) as door,
        door.listening() as client,
    ):
        await door.becomes("kept", "loaded", "mt")
        await door.act("nano-whisper", "load")
        gone = await client.until("model.unload.completed")
        assert gone["data"]["model_id"] == "nano-whisper"
        assert (await door.status("kept", "mt"))["status"] == "loaded"
        await door.act("kept", "unload")
        assert (await door.status("kept", "mt"))["status"] == "not_loaded"


async def test_a_model_of_the_hub_is_downloaded_converted_and_read(tmp_path: Path, hub_on_loopback: None) -> None:
    with serving() as hub:
        hub.files = {file.name: file.read_bytes() for file in (NANO.parent / "whisper").iterdir() if file.is_file()}
        fetched = model("fetched", "team/model")
        async with open_door(tmp_path, fetched, create=asking(hub, tmp_path / "hub")) as door:
            async with door.listening() as client:
                await door.act("fetched", "load")
                await client.until("model.load.completed")
            assert (await door.transcribe("fetched", CLIP))["result"]["text"].strip()
    told = [message["data"] for message in client.heard if message["t"] == "model.load.progress"]
    assert told[0]["stage"] == "downloading"
    percents = [each["progress"] for each in told]
    assert percents == sorted(percents)
    assert "model.safetensors" in hub.served


async def test_memory_of_a_large_model_is_measured_and_freed(tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = transformers.WhisperConfig.from_pretrained(NANO.parent / "whisper")
    config.update({"d_model": 512, "encoder_layers": 4, "decoder_layers": 3, "encoder_ffn_dim": 2048})
    config.update({"encoder_attention_heads": 8, "decoder_attention_heads": 8, "decoder_ffn_dim": 2048})
    transformers.WhisperForConditionalGeneration(config).save_pretrained(tmp_path / "large")
    for file in (NANO.parent / "whisper").iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            (tmp_path / "large" / file.name).write_bytes(file.read_bytes())
    megabytes = (tmp_path / "large" / "model.safetensors").stat().st_size / 1e6
    async with open_door(tmp_path / "data", model("large", tmp_path / "large")) as door:
        await door.loaded("nano-whisper")
        await door.loaded("large")
        await door.act("large", "unload")
        held = (await door.loaded("large"))["memory_usage_mb"]
        freed = (await door.act("large", "unload"))["memory_freed_mb"]
    assert megabytes > 80
    # A heap that earlier tests have used gives and takes less than a model's size at a time.
    assert 0.3 * megabytes < held < 1.3 * megabytes
    assert 0.3 * megabytes < freed < 1.3 * megabytes
