"""Engines that are started here are configured otherwise, or no more, while they work."""

from __future__ import annotations

import asyncio

import psutil

from backends.base import EngineSpec, Timeouts
from proxy.lifecycle.states import State
from tests.proxy.lifecycle.engine_rig import EngineRig, engine_rig, launch, model

A = model("a")


def configure(rig: EngineRig, **engines: EngineSpec) -> None:
    """Have these engines, and the one of this process."""
    specs = {**engines, "here": rig.engines.spec("here")}
    rig.engines.configure(specs, rig.engines.replicas_for(specs))


async def test_one_that_is_configured_otherwise_is_started_anew_after_its_requests() -> None:
    async with engine_rig({"a": launch()}) as rig:
        async with rig.manager.use(A):
            before = await rig.pid("a")
            configure(rig, a=EngineSpec(name="a", kind="vllm", launch=launch("--delay", "0.1")))
            settling = asyncio.create_task(rig.manager.settle())
            await rig.until(lambda: rig.manager.place(A).leaving is not None)
            assert await rig.pid("a") == before
        await settling
        async with rig.manager.use(A):
            assert await rig.pid("a") != before
        assert not psutil.pid_exists(before)


async def test_one_that_is_configured_no_more_ends_after_its_requests() -> None:
    async with engine_rig({"a": launch()}) as rig:
        async with rig.manager.use(A):
            process = psutil.Process(await rig.pid("a"))
            place = rig.manager.place(A)
            configure(rig)
            settling = asyncio.create_task(rig.manager.settle())
            await rig.until(lambda: place.leaving is not None)
            assert process.is_running()
        await settling
        assert place.state is State.NOT_LOADED
        assert not process.is_running()
        assert rig.kinds("a")[-1] == "unload.completed"


async def test_what_takes_no_new_start_holds_without_one() -> None:
    async with engine_rig({"a": launch(idle=60.0)}) as rig:
        await rig.manager.ensure_ready(A)
        before = await rig.pid("a")
        configure(rig, a=EngineSpec(name="a", kind="vllm", timeouts=Timeouts(idle=5.0), launch=launch(idle=0.2)))
        await rig.manager.settle()
        async with rig.manager.use(A):
            assert await rig.pid("a") == before
        await rig.until(lambda: rig.manager.place(A).state is State.NOT_LOADED)
