"""Engines that nobody asks: they stop, or sleep where there is a GPU."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from proxy.lifecycle import pressure
from proxy.lifecycle.rules import Rules
from proxy.lifecycle.scheduler import Limits
from tests.proxy.lifecycle.engine_rig import EngineRig, Machine, engine_rig, launch, model
from tests.proxy.lifecycle.rig import entry

A = model("a")


async def asked(rig: EngineRig) -> list[str]:
    """What the engine was told, in order."""
    said = (await rig.get("a", "/asked"))["asked"]
    assert isinstance(said, list)
    return [str(each) for each in said]


async def test_an_engine_stops_when_it_was_idle_and_starts_again_when_it_is_asked_for() -> None:
    async with engine_rig({"a": launch(idle=0.2)}) as rig:
        async with rig.manager.use(A):
            first = await rig.pid("a")
            await asyncio.sleep(0.5)
            assert rig.manager.is_ready(A), "one in use is not idle"
        await rig.until(lambda: "unload.completed" in rig.kinds("a"))
        assert not rig.manager.is_ready(A)
        async with rig.manager.use(A):
            assert await rig.pid("a") != first


@pytest.mark.parametrize("others", [None, 300.0])
async def test_its_own_ttl_counts_whatever_others_have(others: float | None) -> None:
    whisper = entry("whisper", engine="here")
    async with engine_rig({"a": launch(idle=0.2)}, rules=Rules(limits=Limits(idle=others))) as rig:
        async with rig.manager.use(whisper):
            pass
        async with rig.manager.use(A):
            pass
        await rig.until(lambda: "unload.completed" in rig.kinds("a"))
        assert rig.manager.is_ready(whisper)


async def test_an_engine_without_a_ttl_stays() -> None:
    async with engine_rig({"a": launch()}) as rig:
        await rig.manager.ensure_ready(A)
        await asyncio.sleep(0.4)
        assert rig.manager.is_ready(A)


async def test_on_a_gpu_it_sleeps_and_wakes_up_with_the_next_request() -> None:
    async with engine_rig({"a": launch(idle=0.1, sleep=1)}, machine=Machine(gpu=True, rest=10.0)) as rig:
        async with rig.manager.use(A):
            first = await rig.pid("a")
        await rig.until(lambda: rig.kinds("a")[-1] == "unload.completed")
        assert rig.news[-1].memory_freed_mb == 90.0  # type: ignore[attr-defined]
        assert await asked(rig) == ["/sleep?level=1"]
        async with rig.manager.use(A):
            assert await rig.pid("a") == first
            assert await asked(rig) == ["/sleep?level=1", "/wake_up"]


async def test_it_sleeps_deeper_where_the_host_has_no_room_for_the_weights() -> None:
    machine = Machine(gpu=True, host=50.0)
    async with engine_rig({"a": launch(idle=0.1, sleep=2)}, machine=machine) as rig:
        await rig.manager.ensure_ready(A)
        await rig.until(lambda: rig.kinds("a")[-1] == "unload.completed")
        async with rig.manager.use(A):
            assert await asked(rig) == [
                "/sleep?level=2",
                "/wake_up?tags=weights",
                "/collective_rpc",
                "/wake_up?tags=kv_cache",
            ]


async def test_asleep_for_long_it_stops() -> None:
    terms: dict[str, object] = {"idle": 0.1, "sleep": 1, "stop_after": 0.4}
    async with engine_rig({"a": launch(**terms)}, machine=Machine(gpu=True)) as rig:  # type: ignore[arg-type]
        async with rig.manager.use(A):
            first = await rig.pid("a")
        await rig.until(lambda: not _runs(first))
        async with rig.manager.use(A):
            assert await rig.pid("a") != first


async def test_while_the_hosts_memory_is_short_sleepers_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "SECONDS", 0.05)
    machine = Machine(gpu=True)
    async with engine_rig({"a": launch(idle=0.1, sleep=1)}, machine=machine) as rig:
        async with rig.manager.use(A):
            first = await rig.pid("a")
        await rig.until(lambda: rig.kinds("a")[-1] == "unload.completed")
        assert _runs(first)
        machine.others = 0.9 * machine.host
        await rig.until(lambda: not _runs(first))


async def test_without_a_gpu_it_is_stopped_instead() -> None:
    async with engine_rig({"a": launch(idle=0.1, sleep=1)}) as rig:
        async with rig.manager.use(A):
            first = await rig.pid("a")
        await rig.until(lambda: rig.kinds("a")[-1] == "unload.completed")
        assert not _runs(first)


async def test_one_that_is_told_to_leave_does_not_sleep_but_stops() -> None:
    async with engine_rig({"a": launch(idle=60.0, sleep=1)}, machine=Machine(gpu=True)) as rig:
        async with rig.manager.use(A):
            first = await rig.pid("a")
        await rig.manager.unload(A)
        assert not _runs(first)


async def test_a_preloaded_engine_that_died_is_started_again_by_itself() -> None:
    async with engine_rig({"a": launch()}) as rig:
        await rig.manager.preload(A)
        first = await rig.pid("a")
        psutil.Process(first).kill()
        await rig.until(lambda: not rig.manager.is_ready(A))
        await rig.until(lambda: rig.manager.is_ready(A))
        assert await rig.pid("a") != first


async def test_a_preloaded_engine_never_rests() -> None:
    async with engine_rig({"a": launch(idle=0.1)}, rules=Rules()) as rig:
        await rig.manager.preload(A)
        await asyncio.sleep(0.4)
        assert rig.manager.is_ready(A)


def _runs(pid: int) -> bool:
    return bool(psutil.pid_exists(pid))
