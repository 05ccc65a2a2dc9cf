"""One load however many ask; a failed one leaves nothing behind."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from backends.base import EngineSpec, ModelSpec, Progress, Report
from backends.errors import Unavailable
from proxy.lifecycle.engines import Engines
from proxy.lifecycle.manager import LifecycleManager
from proxy.lifecycle.rules import Rules
from proxy.registry.models import ModelEntry
from tests.support import ScriptedBackend

ENTRY = ModelEntry(name="m", engine="e", spec=ModelSpec(source="s"), task="text")


class SlowBackend(ScriptedBackend):
    """A backend whose load waits for `go`, and fails with `failure` if there is one."""

    def __init__(self) -> None:
        super().__init__(lambda _: ())
        self.loads = 0
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.failure: Exception | None = None

    async def load(self, model: ModelSpec, report: Report) -> None:
        self.loads += 1
        self.started.set()
        report(Progress("download", 30, 120))
        await self.go.wait()
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def backend() -> SlowBackend:
    return SlowBackend()


def manager(backend: SlowBackend, wait_seconds: float = 60) -> LifecycleManager:
    spec = EngineSpec(name="e", kind="transformers")
    return LifecycleManager(Engines({"e": spec}, lambda _: backend), Rules(wait=wait_seconds))


async def test_many_callers_are_one_load(backend: SlowBackend) -> None:
    lifecycle = manager(backend)
    waiting = [asyncio.create_task(lifecycle.ensure_ready(ENTRY)) for _ in range(20)]
    await backend.started.wait()
    assert not lifecycle.is_ready(ENTRY)
    backend.go.set()
    await asyncio.gather(*waiting)
    await lifecycle.ensure_ready(ENTRY)
    assert backend.loads == 1
    assert lifecycle.is_ready(ENTRY)


async def test_a_caller_who_leaves_does_not_stop_the_load(backend: SlowBackend) -> None:
    lifecycle = manager(backend)
    leaver = asyncio.create_task(lifecycle.ensure_ready(ENTRY))
    await backend.started.wait()
    leaver.cancel()
    stayer = asyncio.create_task(lifecycle.ensure_ready(ENTRY))
    backend.go.set()
    await stayer
    assert backend.loads == 1


async def test_a_failed_load_is_told_to_all_and_tried_again_by_the_next(backend: SlowBackend) -> None:
    lifecycle = manager(backend)
    backend.failure = Unavailable("no such model; name another")
    backend.go.set()
    outcomes = await asyncio.gather(*(lifecycle.ensure_ready(ENTRY) for _ in range(3)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no such model; name another"] * 3
    backend.failure = None
    await lifecycle.ensure_ready(ENTRY)
    assert backend.loads == 2


async def test_a_long_load_tells_its_progress_and_when_to_come_back(backend: SlowBackend) -> None:
    lifecycle = manager(backend, wait_seconds=0.5)
    with pytest.raises(Unavailable, match=r"`m` is still loading \(downloading, 17 %\)") as told:
        await lifecycle.ensure_ready(ENTRY)
    assert told.value.retry_after
    await lifecycle.close()


async def test_a_missing_package_is_told_with_the_way_out() -> None:
    def create(_: EngineSpec) -> SlowBackend:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    lifecycle = LifecycleManager(Engines({"e": EngineSpec(name="e", kind="whisper")}, create))
    with pytest.raises(Unavailable, match=r"not installed: torch\. Install the extra `models`"):
        await lifecycle.ensure_ready(ENTRY)


async def test_pipelines_are_made_when_needed_and_remote_engines_at_once() -> None:
    made: list[str] = []

    def create(spec: EngineSpec) -> SlowBackend:
        made.append(spec.name)
        return SlowBackend()

    specs = {
        "near": EngineSpec(name="near", kind="whisper"),
        "far": EngineSpec(name="far", kind="vllm", urls=("http://x",)),
    }
    engines = Engines(specs, create)
    assert made == ["far"]
    assert await engines.make("near") is await engines.make("near")
    assert made == ["far", "near"]


async def test_the_log_says_why_a_load_failed(backend: SlowBackend) -> None:
    backend.failure = Unavailable("It does not load.")
    backend.failure.__cause__ = OSError("no file named model.safetensors in /models/m")
    backend.go.set()
    with structlog.testing.capture_logs() as lines, pytest.raises(Unavailable):
        await manager(backend).ensure_ready(ENTRY)
    failed = next(line for line in lines if line["event"] == "model load failed")
    assert failed["error"] == "It does not load."
    assert "model.safetensors in /models/m" in failed["cause"]
