"""One load: its turn, what it tells on its way, and how it may end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import structlog

from backends.base import Progress
from backends.errors import Broken, LoadTimedOut, Unavailable
from proxy.lifecycle.places import Compute
from proxy.lifecycle.rules import Rules
from proxy.lifecycle.states import State
from tests.proxy.lifecycle.rig import Rig, entry

Rigged = Callable[..., Rig]

A, B, C, D = (entry(name) for name in "abcd")


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


async def test_what_a_model_holds_does_not_shrink_with_each_time_it_is_loaded(rigged: Rigged) -> None:
    """A heap that was used before has room for it: measured by growth alone, it would hold less and less."""
    rig = rigged()
    for grows in (100.0, 60.0, 3.0, 0.0):
        rig.machine.each = grows
        await rig.manager.ensure_ready(A)
        assert rig.place(A).memory_mb == 100.0
        await rig.manager.unload(A)
    told = [getattr(news, "memory_usage_mb", None) for news in rig.news if news.kind == "model.load.completed"]
    needed = [getattr(news, "memory_required_mb", None) for news in rig.news if news.kind == "model.load.started"]
    assert (told, needed) == ([100.0] * 4, [None, 100.0, 100.0, 100.0])


async def test_closing_ends_what_is_under_way(rigged: Rigged) -> None:
    rig = rigged()
    rig.backend.go.clear()
    waiting = asyncio.create_task(rig.manager.ensure_ready(A))
    await rig.until(lambda: bool(rig.backend.log))
    await rig.manager.close()
    with pytest.raises(Unavailable, match="shutting down"):
        await waiting
