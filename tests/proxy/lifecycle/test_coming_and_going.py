"""Models come when they are wanted and go when others are: places, turns, leases, unloading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
import structlog

from backends.base import Progress
from backends.errors import Broken, Invalid, LoadTimedOut, NoDevice, OutOfMemory, Unavailable
from proxy.lifecycle import pressure, scheduler
from proxy.lifecycle.places import Compute
from proxy.lifecycle.rules import Rules
from proxy.lifecycle.scheduler import Limits
from proxy.lifecycle.states import State
from tests.proxy.lifecycle.rig import Machine, Rig, entry

Rigged = Callable[..., Rig]

A, B, C, D = (entry(name) for name in "abcd")
TWO = Rules(limits=Limits(places=2, idle=None), wait=5.0)


async def used(rig: Rig, *names: str) -> None:
    for name in names:
        async with rig.manager.use(entry(name)):
            pass


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


async def test_loads_come_in_the_order_of_their_priority(rigged: Rigged) -> None:
    rig = rigged()
    rig.backend.go.clear()
    rig.manager.load(A)
    await rig.until(lambda: bool(rig.backend.log))
    rig.manager.load(B, priority="low")
    rig.manager.load(C)
    rig.manager.load(D)
    rig.manager.load(D, priority="high")
    rig.backend.go.set()
    await rig.until(lambda: rig.backend.log[-1] == "loaded b")
    assert [line for line in rig.backend.log if line.startswith("loaded")] == [
        "loaded a",
        "loaded d",
        "loaded c",
        "loaded b",
    ]


async def test_a_download_holds_up_no_other_load(rigged: Rigged) -> None:
    rig = rigged()
    slow = entry("far-away", source="/models/far-slow")
    rig.manager.load(slow)
    await rig.until(lambda: any(news.kind == "model.load.progress" for news in rig.news))
    await rig.manager.ensure_ready(A)
    assert rig.place(slow).state is State.LOADING
    rig.backend.downloads.set()
    await rig.manager.ensure_ready(slow)
    # Whose the memory is that came meanwhile cannot be told.
    assert rig.place(A).memory_mb == pytest.approx(100.0)
    assert rig.place(slow).memory_mb is None


async def test_another_arithmetic_is_a_load_anew_after_running_work(rigged: Rigged) -> None:
    rig = rigged()
    await rig.manager.ensure_ready(A)
    assert rig.manager.load(A) is State.LOADED
    async with rig.manager.use(A):
        assert rig.manager.load(A, compute=Compute(compute_type="float16")) is State.LOADING
        await asyncio.sleep(0.01)
        assert rig.backend.log == ["load a", "loaded a"]
    await rig.until(lambda: rig.place(A).open)
    assert rig.backend.log[2:] == ["unload a", "load a float16", "loaded a"]
    assert rig.manager.load(A, compute=Compute(compute_type="float16")) is State.LOADED
    await rig.manager.reload(A)
    assert rig.backend.log[5:] == ["unload a", "load a float16", "loaded a"]


async def test_another_arithmetic_asked_for_while_it_loads(rigged: Rigged) -> None:
    rig = rigged()
    rig.backend.go.clear()
    rig.manager.load(A)
    await rig.until(lambda: bool(rig.backend.log))
    rig.manager.load(A, compute=Compute(compute_type="float16"))
    rig.backend.go.set()
    await rig.until(lambda: rig.place(A).open and rig.backend.log[-1] == "loaded a")
    assert rig.backend.log == ["load a", "loaded a", "unload a", "load a float16", "loaded a"]


async def test_a_failed_load_leaves_nothing_and_says_so(rigged: Rigged) -> None:
    rig = rigged()
    rig.backend.failures["a"] = Unavailable("damaged")
    with pytest.raises(Unavailable, match="damaged"):
        await rig.manager.ensure_ready(A)
    place = rig.place(A)
    assert (place.state, place.attempt, place.resident()) == (State.ERROR, None, None)
    assert rig.backend.log[-1] == "unload a"
    assert rig.kinds() == ["load.started", "load.failed"]
    del rig.backend.failures["a"]
    await rig.manager.ensure_ready(A)
    assert (place.state, place.error) == (State.LOADED, None)


async def test_a_bug_in_a_load_is_told_without_its_words(rigged: Rigged) -> None:
    rig = rigged()
    rig.backend.failures["a"] = KeyError("secret")
    with structlog.testing.capture_logs(), pytest.raises(Broken, match=r"^Loading `a` failed; the .* log says why\.$"):
        await rig.manager.ensure_ready(A)
    assert rig.place(A).state is State.ERROR


async def test_a_load_that_takes_too_long_is_given_up(rigged: Rigged) -> None:
    rig = rigged(Rules(load=0.05))
    rig.backend.go.clear()
    with pytest.raises(LoadTimedOut, match=r"`a` took longer than 0\.05 s"):
        await rig.manager.ensure_ready(A)
    assert rig.news[-1].error_code == "LOADING_TIMEOUT"  # type: ignore[attr-defined]


class Facts:
    """A catalog that knows how much `a` needs."""

    def memory_mb(self, source: str) -> float | None:
        return 9_500.0 if source == "/models/a" else None

    def smaller(self, source: str, fits_mb: float) -> tuple[str, ...]:
        return ("tiny",)


async def facts() -> Facts:
    return Facts()


async def test_a_model_that_cannot_fit_is_refused_before_it_is_read(rigged: Rigged) -> None:
    rig = rigged(facts=facts)
    for _ in range(2):
        with pytest.raises(OutOfMemory) as refused:
            await rig.manager.check(A)
        assert (refused.value.required_mb, refused.value.available_mb) == (9500, 9000)
        with pytest.raises(OutOfMemory):
            await rig.manager.ensure_ready(A)
    assert refused.value.alternatives == ("tiny",)
    assert "load a" not in rig.backend.log
    failed = rig.news[-1]
    assert (failed.error_code, failed.required_mb) == ("INSUFFICIENT_MEMORY", 9500)  # type: ignore[attr-defined]


async def test_what_is_loaded_or_loading_is_not_asked_whether_it_fits(rigged: Rigged) -> None:
    rig = rigged(facts=facts, machine=Machine(others=0.0))
    rig.backend.go.clear()
    rig.manager.load(A)
    await rig.until(lambda: bool(rig.backend.log))
    rig.machine.others = 9_000.0
    await rig.manager.check(A)
    rig.backend.go.set()
    await rig.until(lambda: rig.place(A).open)
    await rig.manager.check(A)
    with pytest.raises(NoDevice):
        await rig.manager.check(A, Compute(compute_type="int8"))


async def test_spare_models_go_to_make_a_large_one_fit(rigged: Rigged) -> None:
    rig = rigged(facts=facts, machine=Machine(others=300.0, each=100.0))
    await used(rig, "b", "c", "d")
    async with rig.manager.use(D):
        await rig.manager.check(A)
        assert rig.machine.loaded == {"/models/d", "/models/c"}
        await rig.manager.ensure_ready(A)
    assert rig.news[-1].kind == "model.load.completed"


async def test_models_go_while_memory_is_short(rigged: Rigged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "SECONDS", 0.01)
    rig = rigged()
    await used(rig, "a", "b")
    async with rig.manager.use(B):
        rig.machine.others = 9_000.0
        await rig.until(lambda: rig.machine.loaded == {"/models/b"})
        await asyncio.sleep(0.05)
        assert rig.place(B).open
        rig.machine.others = 1_000.0
    await asyncio.sleep(0.05)
    assert rig.place(B).open


async def test_warming_up_is_a_real_inference_before_the_model_counts_as_loaded(rigged: Rigged) -> None:
    rig = rigged()
    rig.manager.load(A, warm=True)
    await rig.until(lambda: rig.place(A).open)
    assert rig.backend.log == ["load a", "loaded a", "run a"]
    assert [news.stage for news in rig.news if news.kind == "model.load.progress"] == ["warming_up"]  # type: ignore[attr-defined]
    rig.machine.loaded.clear()
    assert rig.place(A).figures.count == 0


async def test_progress_is_told_with_stages_percent_and_memory(rigged: Rigged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.lifecycle.loader.SAMPLE_SECONDS", 0.01)
    rig = rigged()
    rig.backend.reports = (Progress("convert", 0, 2), Progress("convert", 1, 2), Progress("load", 0, 2))
    rig.backend.go.clear()
    rig.manager.load(A)

    def told() -> list[object]:
        return [news for news in rig.news if getattr(news, "memory_used_mb", None) is not None]

    await rig.until(lambda: bool(told()))
    rig.machine.loaded.add("half")
    await rig.until(lambda: getattr(told()[-1], "memory_used_mb", None) == 100.0)
    rig.machine.loaded.discard("half")
    rig.backend.go.set()
    await rig.until(lambda: rig.place(A).open)
    stages = [(news.stage, news.progress) for news in rig.news if news.kind == "model.load.progress"]  # type: ignore[attr-defined]
    assert stages[:3] == [("converting", 0), ("converting", 30), ("loading_weights", 60)]
    completed = rig.news[-1]
    assert (completed.model_type, completed.memory_usage_mb) == ("text", 100.0)  # type: ignore[attr-defined]
    assert completed.load_time_ms > 0  # type: ignore[attr-defined]


async def test_past_loads_tell_how_long_the_next_takes_and_what_it_needs(rigged: Rigged) -> None:
    rig = rigged()
    assert rig.manager.expected_seconds(A) is None
    await rig.manager.ensure_ready(A)
    await rig.manager.unload(A)
    assert rig.manager.expected_seconds(A) is not None
    await rig.manager.ensure_ready(A)
    started = [news for news in rig.news if news.kind == "model.load.started"]
    assert started[0].memory_required_mb is None  # type: ignore[attr-defined]
    assert started[1].memory_required_mb == 100.0  # type: ignore[attr-defined]
    assert started[1].estimated_load_time_ms is not None  # type: ignore[attr-defined]


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


async def test_closing_ends_what_is_under_way(rigged: Rigged) -> None:
    rig = rigged()
    rig.backend.go.clear()
    waiting = asyncio.create_task(rig.manager.ensure_ready(A))
    await rig.until(lambda: bool(rig.backend.log))
    await rig.manager.close()
    with pytest.raises(Unavailable, match="shutting down"):
        await waiting


async def test_what_is_known_of_models_is_bounded(rigged: Rigged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.lifecycle.floor.REMEMBERED", 3)
    rig = rigged(TWO)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(rig.manager.use(A))
        for number in range(10):
            rig.place(entry(f"m{number}"))
        assert len(rig.manager.places()) == 3
        assert rig.place(A).busy == 1
