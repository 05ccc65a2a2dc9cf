"""More engines than there is memory for: who leaves for whom, and when."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from backends.errors import OutOfMemory, Unavailable
from proxy.lifecycle import swapping
from proxy.lifecycle.rules import Rules
from tests.proxy.lifecycle.engine_rig import EngineRig, Machine, engine_rig, launch, model
from tests.proxy.lifecycle.rig import entry

A, B, C = model("a"), model("b"), model("c")
ONE = Rules(budget=150.0)
"""Memory for one engine of 100 MB."""


@contextlib.asynccontextmanager
async def crowded(*names: str, rules: Rules = ONE, **terms: object) -> AsyncIterator[EngineRig]:
    engines = {name: launch(memory_mb=100.0, **terms) for name in names}  # type: ignore[arg-type]
    async with engine_rig(engines, rules=rules) as rig:
        yield rig


async def test_an_idle_engine_makes_room_for_one_that_is_asked_for() -> None:
    async with crowded("a", "b") as rig:
        await rig.manager.ensure_ready(A)
        async with rig.manager.use(B):
            assert not rig.manager.is_ready(A)
        async with rig.manager.use(A):
            assert not rig.manager.is_ready(B)


async def test_a_busy_engine_never_makes_room_while_it_is_used() -> None:
    async with crowded("a", "b", rules=Rules(budget=150.0, wait=0.4)) as rig:
        async with rig.manager.use(A, patient=True):
            first = await rig.pid("a")
            with pytest.raises(Unavailable, match="waits for memory that others use") as told:
                await rig.manager.ensure_ready(B)
            assert told.value.retry_after == 5.0
            assert await rig.pid("a") == first
        await rig.until(lambda: rig.manager.is_ready(B) or rig.manager.place(B).attempt is None)


async def test_who_waits_gets_its_turn_though_another_is_asked_for_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(swapping, "PATIENCE", 0.3)
    async with crowded("a", "b") as rig:
        served = {"a": 0, "b": 0}

        async def hot(name: str, stop: asyncio.Event) -> None:
            while not stop.is_set():
                async with rig.manager.use(model(name)):
                    served[name] += 1
                    await asyncio.sleep(0.02)

        stop = asyncio.Event()
        crowd = [asyncio.create_task(hot("a", stop)) for _ in range(4)]
        await rig.until(lambda: served["a"] > 10)
        crowd += [asyncio.create_task(hot("b", stop)) for _ in range(4)]
        await rig.until(lambda: served["b"] > 10)
        turn = served["a"]
        await rig.until(lambda: served["a"] > turn + 10)
        stop.set()
        await asyncio.gather(*crowd)


async def test_those_who_wait_come_in_the_order_in_which_they_came() -> None:
    async with crowded("a", "b", "c") as rig:
        began = []

        async def client(name: str) -> None:
            async with rig.manager.use(model(name)):
                began.append(name)

        async with rig.manager.use(A):
            crowd = [asyncio.create_task(client("b"))]
            await rig.until(lambda: (attempt := rig.manager.place(B).attempt) is not None and attempt.seeking)
            crowd.append(asyncio.create_task(client("c")))
            await rig.until(lambda: (attempt := rig.manager.place(C).attempt) is not None and attempt.seeking)
        await asyncio.gather(*crowd)
        assert began == ["b", "c"]


async def test_the_cheaper_one_leaves() -> None:
    launches = {
        "a": launch(memory_mb=100.0, evict_cost=50.0),
        "b": launch(memory_mb=100.0, evict_cost=1.0),
        "c": launch(memory_mb=100.0),
    }
    async with engine_rig(launches, rules=Rules(budget=250.0)) as rig:
        await rig.manager.ensure_ready(A)
        await rig.manager.ensure_ready(B)
        await rig.manager.ensure_ready(C)
        assert rig.manager.is_ready(A)
        assert not rig.manager.is_ready(B)


async def test_what_can_never_fit_is_refused_at_once_with_the_figures() -> None:
    async with crowded("a", "b", rules=Rules(budget=80.0)) as rig:
        with pytest.raises(OutOfMemory) as refused:
            await rig.manager.ensure_ready(A)
        assert (refused.value.required_mb, refused.value.available_mb) == (100, 80)


async def test_a_sleeper_that_holds_too_much_is_stopped() -> None:
    machine = Machine(total=150.0, gpu=True, rest=60.0)
    launches = {name: launch(memory_mb=100.0, idle=60.0, sleep=1) for name in "ab"}
    async with engine_rig(launches, machine=machine) as rig:
        async with rig.manager.use(A):
            first = await rig.pid("a")
        async with rig.manager.use(B):
            assert machine.holding() == (1, 0)
        async with rig.manager.use(A):
            assert await rig.pid("a") != first


async def test_a_sleeper_that_holds_little_sleeps_on_and_wakes_up_again() -> None:
    machine = Machine(total=150.0, gpu=True, rest=10.0)
    launches = {name: launch(memory_mb=100.0, idle=60.0, sleep=1) for name in "ab"}
    async with engine_rig(launches, machine=machine) as rig:
        async with rig.manager.use(A):
            first = await rig.pid("a")
        async with rig.manager.use(B):
            assert machine.holding() == (1, 1)
        async with rig.manager.use(A):
            assert await rig.pid("a") == first
            assert machine.holding() == (1, 1)


async def test_models_of_this_process_share_the_memory_with_engines() -> None:
    whisper = entry("whisper", engine="here")
    async with crowded("a", rules=Rules(budget=150.0, wait=0.4)) as rig:
        # What it holds is measured with its first load, and counted from then on.
        await rig.manager.ensure_ready(whisper)
        async with rig.manager.use(A, patient=True):
            assert not rig.manager.is_ready(whisper)
            with pytest.raises(Unavailable):
                await rig.manager.ensure_ready(whisper)
        async with rig.manager.use(whisper, patient=True):
            assert not rig.manager.is_ready(A)


async def test_engines_on_two_gpus_leave_each_other_alone() -> None:
    launches = {"a": launch(memory_mb=100.0), "b": launch(memory_mb=100.0, device="cuda:1")}
    async with engine_rig(launches, machine=Machine(total=150.0, gpu=True)) as rig:
        await rig.manager.ensure_ready(A)
        await rig.manager.ensure_ready(B)
        assert rig.manager.is_ready(A)
