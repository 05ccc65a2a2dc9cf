"""An engine of this process is configured otherwise, or no more, while it works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from backends.base import EngineSpec
from backends.errors import Unavailable
from proxy.lifecycle.states import State
from tests.proxy.lifecycle.rig import Rig, entry, used

Rigged = Callable[..., Rig]

A, B = entry("a"), entry("b")


def configure(rig: Rig, **engines: EngineSpec) -> None:
    """Have these engines; the one that is made is to be exchanged."""
    assert rig.engines.configure(engines, rig.engines.replicas_for(engines)) == ("e",)


async def test_running_requests_end_on_the_old_engine_and_later_ones_wait_for_the_new(rigged: Rigged) -> None:
    rig = rigged()
    await used(rig, "b")
    async with rig.manager.use(A):
        new = EngineSpec(name="e", kind="transformers", device="cpu", compute_type="float32")
        configure(rig, e=new)
        exchanging = asyncio.create_task(rig.manager.exchange("e"))
        await rig.until(lambda: rig.place(B).state is State.NOT_LOADED)
        late = asyncio.create_task(used(rig, "a", "b"))
        await rig.until(lambda: rig.place(A).wanted == 1)
        await asyncio.sleep(0.02)
        assert not exchanging.done() and rig.engines.spec("e") != new
        assert rig.backend.log == ["load b", "loaded b", "load a", "loaded a", "unload b"]
    await exchanging
    await late
    assert rig.engines.spec("e") == new
    assert rig.backend.log[5:] == ["unload a", "load a", "loaded a", "load b", "loaded b"]


async def test_a_load_under_way_is_waited_for_and_one_that_has_not_begun_waits(rigged: Rigged) -> None:
    rig = rigged()
    rig.backend.go.clear()
    first = asyncio.create_task(used(rig, "a"))
    await rig.until(lambda: bool(rig.backend.log))
    configure(rig, e=EngineSpec(name="e", kind="transformers", device="auto"))
    exchanging = asyncio.create_task(rig.manager.exchange("e"))
    await asyncio.sleep(0)
    second = asyncio.create_task(used(rig, "b"))
    await rig.until(lambda: rig.place(B).wanted == 1)
    rig.backend.go.set()
    await asyncio.gather(first, second, exchanging)
    assert rig.backend.log == ["load a", "loaded a", "unload a", "load b", "loaded b"]


async def test_whoever_waits_for_an_engine_that_is_to_go_is_served(rigged: Rigged) -> None:
    rig = rigged()
    rig.backend.go.clear()
    waiting = [asyncio.create_task(used(rig, "a")) for _ in range(5)]
    await rig.until(lambda: rig.place(A).wanted == 5 and bool(rig.backend.log))
    configure(rig)
    exchanging = asyncio.create_task(rig.manager.exchange("e"))
    await asyncio.sleep(0)
    rig.backend.go.set()
    await asyncio.gather(*waiting, exchanging)
    assert not rig.machine.loaded
    with pytest.raises(Unavailable, match="left the configuration"):
        await used(rig, "a")


async def test_what_is_preloaded_no_more_goes_when_others_want_its_place(rigged: Rigged) -> None:
    rig = rigged()
    await rig.manager.preload(A)
    rig.manager.keep_only([B])
    await used(rig, "b", "c", "d")
    await rig.until(lambda: rig.place(A).state is State.NOT_LOADED)
