"""Engines as real processes: started when asked for, idle, crowded out, killed; adapters on them."""

from __future__ import annotations

import asyncio

from tests.proxy.lifecycle.engine_rig import engine_rig, launch, model

A, B = model("a"), model("b")


async def test_one_start_however_many_ask() -> None:
    async with engine_rig({"a": launch("--delay", "0.3")}) as rig:
        assert not rig.manager.is_ready(A)

        async def client() -> int:
            async with rig.manager.use(A):
                return await rig.pid("a")

        assert len(set(await asyncio.gather(*(client() for _ in range(20))))) == 1
        assert rig.kinds("a")[0] == "load.started"
        assert rig.kinds("a")[-1] == "load.completed"
        assert rig.kinds("a").count("load.started") == 1
