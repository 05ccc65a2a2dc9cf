"""Contract 3, Model Status & Health: figures of what really happened, and none that nobody measured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backends.base import ModelSpec
from backends.errors import Unavailable
from proxy.contracts.models.health import Tried, report
from proxy.contracts.models.status import resources, statuses
from proxy.lifecycle.gpu import Gpu
from proxy.lifecycle.memory import Room
from proxy.lifecycle.places import Check, Place
from proxy.lifecycle.scheduler import Key
from proxy.lifecycle.states import State
from proxy.registry.models import ModelEntry
from tests.backends.inprocess.hub_server import serving
from tests.contracts.models.lifecycle_door import NANO, Door, asking, open_door
from tests.contracts.schema import conforms

CLIP = (Path(__file__).parents[2] / "data" / "speech" / "01.flac").read_bytes()
NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ROOM = Room(1000.0, 600.0, 50.0)
EARS = ModelEntry(name="ears", engine="whisper", spec=ModelSpec(source="org/ears"), task="transcription")


def place_of(entry: ModelEntry = EARS, **facts: object) -> Place:
    place = Place(Key(entry.engine, entry.spec), entry)
    for name, value in facts.items():
        setattr(place, name, value)
    return place


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path) as door:
        yield door


async def test_figures_are_those_of_what_happened(door: Door) -> None:
    before = await door.status("nano-whisper")
    assert (before["status"], before["inference_count"], before["memory_usage_mb"]) == ("not_loaded", 0, 0)
    assert "cache_hit_rate" not in before["performance_metrics"]
    assert "loaded_at" not in before
    for _ in range(4):
        await door.transcribe("nano-whisper", CLIP)
    await door.transcribe("nano-whisper", b"no audio", status=415)
    status = await door.status("nano-whisper")
    metrics = status["performance_metrics"]
    assert (status["status"], status["inference_count"]) == ("loaded", 4)
    assert 0 < metrics["avg_inference_time_ms"] <= metrics["p95_inference_time_ms"]
    assert metrics["throughput_per_second"] == pytest.approx(4 / 60, abs=1e-4)
    assert metrics["cache_hit_rate"] == pytest.approx(4 / 5)
    assert status["health_check"]["error_rate"] == 0
    assert status["health_check"]["response_time_ms"] > 0


async def test_every_model_of_the_lists_has_a_status(door: Door) -> None:
    """A client looks at the status of the model that it chose, and loads it when that says `not_loaded`."""
    statuses = await door.statuses()
    for kind, name in (("asr", "asr_models"), ("mt", "mt_models")):
        async with door.world.http.get(f"{door.world.url}/api/models/{kind}") as response:
            listed = [model["model_id"] for model in (await response.json())["models"]]
        assert [status["model_id"] for status in statuses[name]] == listed
    assert (await door.status("openai/whisper-tiny.en"))["status"] == "not_loaded"


async def test_the_machine_is_measured(door: Door) -> None:
    await door.loaded("nano-whisper")
    machine = (await door.statuses())["system_resources"]
    assert machine["memory_usage_mb"] > 100
    assert machine["disk_cache_usage_mb"] > 0
    assert 0 <= machine["cpu_usage_percent"] <= 100


async def test_a_health_check_really_tries_the_model(door: Door) -> None:
    for name, kind in (("nano-whisper", "asr"), ("nano-translate", "mt")):
        await door.loaded(name, kind=kind)
        health = await door.act(name, "health-check")
        assert (health["status"], health["recommendations"]) == ("healthy", [])
        assert health["checks"]["inference"]["latency_ms"] > 0
        assert health["checks"]["memory"]["limit_mb"] > health["checks"]["memory"]["usage_mb"]
        status = await door.status(name, kind)
        assert status["health_check"]["last_check"] == health["checked_at"]
        assert status["health_check"]["response_time_ms"] == health["checks"]["inference"]["latency_ms"]
        assert status["inference_count"] == 1


async def test_a_health_check_loads_nothing(door: Door) -> None:
    health = await door.act("nano-whisper", "health-check")
    assert (health["status"], health["checks"]["loading"]["status"]) == ("unhealthy", "fail")
    assert health["recommendations"] == ["Load the model: POST /api/models/nano-whisper/load."]
    assert (await door.status("nano-whisper"))["status"] == "not_loaded"


async def test_a_model_of_no_list_can_be_tried_too(door: Door) -> None:
    await door.act("nano-chat", "load", {"preload_cache": True})
    async with door.listening() as client:
        if (await door.act("nano-chat", "load"))["status"] == "loading":
            await client.until("model.load.completed")
    assert (await door.act("nano-chat", "health-check"))["status"] == "healthy"
    lists = await door.statuses()
    assert "nano-chat" not in str(lists)


async def test_a_model_that_nobody_configured_is_one_while_it_is_in_memory(
    tmp_path: Path, hub_on_loopback: None
) -> None:
    """Each path of the models API says the same of it as the list of statuses."""
    with serving() as hub:
        whisper = NANO.parent / "whisper"
        hub.files = {path.name: path.read_bytes() for path in whisper.iterdir()}
        async with open_door(tmp_path, create=asking(hub, tmp_path)) as door:
            await door.transcribe("team/missing", CLIP, status=404)
            await door.transcribe("team/model", CLIP)
            assert (await door.status("team/model"))["status"] == "loaded"
            assert (await door.act("team/model", "health-check"))["status"] == "healthy"
            assert (await door.act("team/model", "load"))["status"] == "loaded"
            await door.act("team/model", "unload")
            named = [status["model_id"] for status in (await door.statuses())["asr_models"]]
            assert not {"team/missing", "team/model"} & set(named)
            for name in ("team/missing", "team/model"):
                assert (await door.refused(name, status=404, action="health-check"))["code"] == "MODEL_NOT_FOUND"


def test_a_status_has_every_field() -> None:
    loaded = place_of(state=State.LOADED, loaded_on=NOW, memory_mb=120.04, uses=4, hits=3)
    for seconds in (0.1, 0.1, 0.4):
        loaded.figures.succeeded(seconds, now=10.0)
    loaded.figures.failed()
    loaded.used_at = 7.5
    (status,) = statuses("transcription", [EARS], [loaded], NOW + timedelta(seconds=4), 10.0)
    assert status == {
        "model_id": "ears",
        "status": "loaded",
        "memory_usage_mb": 120.0,
        "inference_count": 3,
        "loaded_at": "2026-01-02T03:04:05.678Z",
        "health_check": {
            "last_check": "2026-01-02T03:04:07.178Z",  # when it was last used
            "status": "degraded",
            "response_time_ms": 400.0,
            "error_rate": 0.25,
        },
        "performance_metrics": {
            "avg_inference_time_ms": 200.0,
            "p95_inference_time_ms": 400.0,
            "throughput_per_second": 0.05,
            "cache_hit_rate": 0.75,
        },
    }
    body = {"asr_models": [status], "mt_models": [], "system_resources": resources(ROOM, 12.5, 3.0)}
    conforms("models", "ModelsStatusResponse", body)


def test_an_error_is_kept_and_a_health_check_is_remembered() -> None:
    failed = place_of(state=State.ERROR, error=Unavailable("It is damaged."), check=Check(NOW, "unhealthy", None))
    (status,) = statuses("transcription", [EARS], [failed], datetime.now(UTC), 0.0)
    assert isinstance(status, dict)
    assert (status["status"], status["error_message"]) == ("error", "It is damaged.")
    assert status["health_check"] == {
        "last_check": "2026-01-02T03:04:05.678Z",
        "status": "unhealthy",
        "response_time_ms": 0.0,
        "error_rate": 0.0,
    }


def test_what_was_seen_last_is_when_it_was_seen() -> None:
    failed = place_of(state=State.ERROR, error=Unavailable("It is damaged."), failed_on=NOW)
    for place, seen in ((failed, NOW), (place_of(state=State.LOADED, loaded_on=NOW), NOW), (place_of(), LATER)):
        (status,) = statuses("transcription", [EARS], [place], LATER, 100.0)
        assert isinstance(status, dict)
        health = status["health_check"]
        assert isinstance(health, dict)
        assert health["last_check"] == f"{seen.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def test_loads_side_by_side_are_one_model_and_unlisted_ones_are_there_too() -> None:
    quick = replace(EARS, spec=replace(EARS.spec, variant="cpu-int8"))
    other = replace(EARS, name="org/other", spec=ModelSpec(source="org/other"))
    places = [
        place_of(),
        place_of(quick, state=State.LOADED, loaded_on=NOW, memory_mb=50.0),
        place_of(other, state=State.LOADING),
        place_of(replace(EARS, name="words", task="translation", engine="translation"), state=State.LOADED),
    ]
    found = statuses("transcription", [EARS], places, NOW, 0.0)
    told = [
        (status["model_id"], status["status"], status["memory_usage_mb"])
        for status in found
        if isinstance(status, dict)
    ]
    assert told == [("ears", "loaded", 50.0), ("org/other", "loading", 0.0)]
    assert len(statuses("translation", [EARS], places, NOW, 0.0)) == 1


def test_a_model_elsewhere_is_loaded_as_far_as_we_know() -> None:
    (status,) = statuses("transcription", [EARS], [place_of(remote=True)], NOW, 0.0)
    assert isinstance(status, dict)
    assert (status["status"], status["memory_usage_mb"]) == ("loaded", 0.0)


def test_a_gpu_is_told_where_there_is_one() -> None:
    assert "gpu_memory_usage_mb" not in resources(ROOM, 1.0, 0.0)
    assert resources(replace(ROOM, gpu=Gpu(80.0, 20.0)), 1.0, 0.0)["gpu_memory_usage_mb"] == 20.0


@pytest.mark.parametrize(
    ("tried", "room", "error_rate", "verdict", "advice"),
    [
        (Tried(True, True, seconds=0.01), ROOM, 0.0, "healthy", ""),
        (Tried(True, True, seconds=0.01), replace(ROOM, available=100.0), 0.0, "degraded", "memory is short"),
        (Tried(True, True, seconds=0.01), replace(ROOM, gpu=Gpu(80.0, 79.0)), 0.0, "degraded", "memory is short"),
        (Tried(True, True, seconds=0.01), ROOM, 0.5, "degraded", "50 % of its latest inferences failed"),
        (Tried(True, False, run_message="no"), ROOM, 0.0, "unhealthy", "Load the model anew"),
        (Tried(False, False, "not there", "no"), ROOM, 0.0, "unhealthy", "POST /api/models/ears/load"),
    ],
)
def test_a_health_check_is_judged_by_what_was_seen(
    tried: Tried, room: Room, error_rate: float, verdict: str, advice: str
) -> None:
    told = report("ears", tried, place_of(device="cuda", memory_mb=7.0), room, 0.8, error_rate)
    assert told.verdict == told.answer["status"] == verdict
    assert advice in " ".join(map(str, told.answer["recommendations"]))  # type: ignore[arg-type]
    conforms("models", "ModelHealthCheckResponse", {**told.answer, "checked_at": "2026-01-02T03:04:05.678Z"})
