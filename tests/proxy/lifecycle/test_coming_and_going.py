"""Models come when they are wanted and go when others are: places, leases, unloading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from backends.errors import Broken, Invalid, Unavailable
from proxy.lifecycle import scheduler
from proxy.lifecycle.rules import Rules
from proxy.lifecycle.scheduler import Limits
from proxy.lifecycle.states import State
from tests.proxy.lifecycle.rig import Rig, entry, used

Rigged = Callable[..., Rig]

A, B, C, D = (entry(name) for name in "abcd")
TWO = Rules(limits=Limits(places=2, idle=None), wait=5.0)


async def test_fifty_first_requests_make_one_load(rigged: Rigged) -> None:
    rig = rigged()
    rig.backend.go.clear()
    running = 0

    async def request() -> None:
        nonlocal running
        async with rig.manager.use(A):
            running += 1
            await asyncio.sleep(0)

    requests = [asyncio.create_task(request()) for _ in range(50)]
    await rig.until(lambda: rig.place(A).wanted == 50 and bool(rig.backend.log))
    rig.backend.go.set()
    await asyncio.gather(*requests)
    assert (running, rig.backend.log) == (50, ["load a", "loaded a"])
    assert (rig.place(A).busy, rig.place(A).wanted, rig.place(A).figures.count) == (0, 0, 50)


async def test_names_of_one_checkpoint_share_a_load_and_tasks_do_not(rigged: Rigged) -> None:
    rig = rigged()
    alias = entry("other-name", source=A.spec.source)
    await asyncio.gather(rig.manager.ensure_ready(A), rig.manager.ensure_ready(alias))
    assert rig.place(A) is rig.place(alias)
    assert len(rig.machine.loaded) == 1
    assert rig.backend.log.count("load a") + rig.backend.log.count("load other-name") == 1


async def test_the_least_recently_used_makes_room(rigged: Rigged) -> None:
    rig = rigged(TWO)
    await used(rig, "a", "b", "a", "c")
    assert rig.machine.loaded == {"/models/a", "/models/c"}
    assert rig.place(B).state is State.NOT_LOADED
    assert rig.kinds()[-4:] == ["unload.started", "unload.completed", "load.started", "load.completed"]


async def test_what_the_configuration_preloads_takes_no_place_and_stays(rigged: Rigged) -> None:
    rig = rigged(Rules(limits=Limits(places=1, idle=0.01), wait=5.0))
    pinned = entry("p")
    await rig.manager.preload(pinned)
    await used(rig, "a", "b", "p")
    await rig.until(lambda: rig.machine.loaded == {"/models/p"})
    assert rig.place(pinned).open


async def test_a_model_in_use_is_never_taken_away(rigged: Rigged) -> None:
    rig = rigged(TWO)
    async with rig.manager.use(A):
        await used(rig, "b", "c", "d")
        assert "/models/a" in rig.machine.loaded
        assert "unload a" not in rig.backend.log


async def test_when_all_are_in_use_a_request_waits_and_then_is_told_when_to_come_back(rigged: Rigged) -> None:
    rig = rigged(Rules(limits=Limits(places=2, idle=None), wait=1.0))
    async with rig.manager.use(A), rig.manager.use(B):
        with pytest.raises(Unavailable, match=r"`c` found no place: 2 others .* LX_MODEL_CACHE_SIZE") as told:
            await rig.manager.ensure_ready(C)
        assert told.value.retry_after
        assert rig.place(C).state is State.NOT_LOADED
        await rig.until(lambda: rig.kinds()[-1] == "load.failed")
        assert rig.news[-1].error_code == "LOADING_TIMEOUT"  # type: ignore[attr-defined]
        waiting = asyncio.create_task(rig.manager.ensure_ready(C))
        await rig.until(lambda: rig.place(C).attempt is not None)
    await waiting
    assert rig.place(C).open


async def test_models_that_are_never_idle_starve_nobody(rigged: Rigged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "PATIENCE", 0.05)
    rig = rigged(TWO)
    stop = asyncio.Event()

    async def client(name: str) -> int:
        """Requests that overlap, so that the model is always in use."""
        served = 0
        while not stop.is_set():
            async with rig.manager.use(entry(name)):
                served += 1
                await asyncio.sleep(0.01)
        return served

    busy = [asyncio.create_task(client(name)) for name in "aabb"]
    await rig.until(lambda: len(rig.machine.loaded) == 2)
    for _ in range(3):
        async with rig.manager.use(C):
            pass
        async with rig.manager.use(D):
            pass
    stop.set()
    assert min(await asyncio.gather(*busy)) > 0


async def test_everybody_gets_a_turn_whatever_the_order(rigged: Rigged) -> None:
    rig = rigged(Rules(limits=Limits(places=1, idle=None), wait=5.0))

    async def request(number: int) -> None:
        async with rig.manager.use(entry("abcdefg"[number % 7])):
            await asyncio.sleep(0.001)

    await asyncio.gather(*(request(number) for number in range(70)))
    assert len(rig.machine.loaded) == 1
    assert rig.backend.log.count("loaded a") == 1


async def test_an_idle_model_goes_by_itself(rigged: Rigged) -> None:
    rig = rigged(Rules(limits=Limits(idle=0.05)))
    async with rig.manager.use(A):
        await asyncio.sleep(0.1)
        assert rig.place(A).open
    await rig.until(lambda: not rig.machine.loaded)
    assert rig.news[-1].reason == "idle"  # type: ignore[attr-defined]
    await used(rig, "a")
    assert rig.place(A).open


async def test_unloading_waits_for_running_work_and_frees_what_was_measured(rigged: Rigged) -> None:
    rig = rigged()
    async with rig.manager.use(A):
        unloading = asyncio.create_task(rig.manager.unload(A))
        await rig.until(lambda: rig.place(A).leaving is not None)
        late = asyncio.create_task(used(rig, "a"))
        await asyncio.sleep(0.02)
        assert not unloading.done()
        assert rig.machine.loaded
    assert await unloading == pytest.approx(100.0)
    await late
    assert rig.backend.log == ["load a", "loaded a", "unload a", "load a", "loaded a"]


async def test_a_caller_who_leaves_does_not_stop_an_unload(rigged: Rigged) -> None:
    rig = rigged()
    async with rig.manager.use(A):
        unloading = asyncio.create_task(rig.manager.unload(A))
        await rig.until(lambda: rig.place(A).leaving is not None)
        unloading.cancel()
    await rig.until(lambda: not rig.machine.loaded)
    assert await rig.manager.unload(A) == 0.0


async def test_a_load_under_way_is_unloaded_when_it_is_there(rigged: Rigged) -> None:
    rig = rigged()
    rig.backend.go.clear()
    assert rig.manager.load(A) is State.LOADING
    unloading = asyncio.create_task(rig.manager.unload(A))
    await asyncio.sleep(0.01)
    rig.backend.go.set()
    assert await unloading == pytest.approx(100.0)
    assert not rig.machine.loaded


async def test_engines_elsewhere_are_always_ready_and_never_counted(rigged: Rigged) -> None:
    rig = rigged(Rules(limits=Limits(places=1)))
    remote = entry("r", engine="far")
    assert rig.manager.is_ready(remote)
    assert rig.manager.load(remote) is State.LOADED
    assert await rig.manager.unload(remote) == 0.0
    async with rig.manager.use(remote), rig.manager.use(A):
        pass
    assert rig.place(remote).figures.count == 1
    assert rig.backend.log == ["load a", "loaded a"]


async def test_failures_of_the_model_are_counted_and_wrong_requests_are_not(rigged: Rigged) -> None:
    rig = rigged()
    for error in (Broken("b"), Invalid("i"), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            async with rig.manager.use(A):
                raise error
    async with rig.manager.use(A):
        pass
    summary = rig.place(A).figures.summary(0.0)
    assert (summary.count, summary.error_rate) == (1, 0.5)
    assert (rig.place(A).uses, rig.place(A).hits, rig.place(A).busy) == (4, 3, 0)


async def test_what_is_known_of_models_is_bounded(rigged: Rigged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.lifecycle.floor.REMEMBERED", 3)
    rig = rigged(TWO)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(rig.manager.use(A))
        for number in range(10):
            rig.place(entry(f"m{number}"))
        assert len(rig.manager.places()) == 3
        assert rig.place(A).busy == 1
