"""Who hears what, in which order, at which pace, and who is let go."""

from __future__ import annotations

import asyncio

import pytest

from proxy.events.bus import Bus, Listener
from proxy.events.values import LoadProgress, LoadStarted, SessionClosed, SessionConfigUpdated

STARTED = LoadStarted(model_id="m", model_type="asr")
CONFIGURED = SessionConfigUpdated(updated_at="now", config={}, restart_required=False)


def progress(percent: int, model: str = "m") -> LoadProgress:
    return LoadProgress(model_id=model, progress=percent, stage="downloading")


async def heard(listener: Listener, count: int) -> list[tuple[int, str]]:
    async with asyncio.timeout(2):
        return [(record.seq, record.event.kind) for record in [await listener.next() for _ in range(count)]]


async def test_everybody_hears_of_models_and_only_its_own_listeners_of_a_session() -> None:
    bus = Bus()
    with bus.listen(None) as everywhere, bus.listen("a") as first, bus.listen("a") as second, bus.listen("b") as other:
        bus.publish(STARTED)
        bus.publish(CONFIGURED, "a")
        bus.publish(STARTED)
        both = [(1, "model.load.started"), (2, "session.config.updated"), (3, "model.load.started")]
        assert await heard(first, 3) == await heard(second, 3) == both
        assert await heard(other, 2) == await heard(everywhere, 2) == [both[0], both[2]]
    assert bus.listeners == 0


async def test_a_listener_wakes_when_something_is_published() -> None:
    bus = Bus()
    with bus.listen(None) as listener:
        waiting = asyncio.create_task(heard(listener, 1))
        await asyncio.sleep(0)
        assert not waiting.done()
        bus.publish(STARTED)
        assert await waiting == [(1, "model.load.started")]


async def test_whoever_comes_back_hears_what_was_missed_and_then_what_is_new() -> None:
    bus = Bus(first=100)
    bus.publish(STARTED)
    bus.publish(CONFIGURED, "a")
    with bus.listen("a") as listener:
        assert not bus.resume(listener, 100).gap
        bus.publish(STARTED)
        assert await heard(listener, 2) == [(101, "session.config.updated"), (102, "model.load.started")]
        missed = bus.resume(listener, 7)
        assert missed.gap and len(missed.records) == 3
        assert [seq for seq, _ in await heard(listener, 3)] == [100, 101, 102]


async def test_progress_is_told_twice_a_second_at_most_for_each_model() -> None:
    time = 0
    bus = Bus(now=lambda: time)
    with bus.listen(None) as listener:
        for tick in range(21):  # two seconds
            time = tick * 100_000_000
            bus.publish(progress(tick))
            bus.publish(progress(tick, "n"))
        bus.publish(STARTED)
        told = [await listener.next() for _ in range(11)]
    percents = [record.event for record in told if record.event.subject == "m"]
    assert percents == [progress(tick) for tick in (0, 5, 10, 15, 20)]
    assert told[-1].event is STARTED


async def test_who_does_not_keep_up_is_let_go_and_nobody_else() -> None:
    bus = Bus(room=2)
    with bus.listen(None) as slow, bus.listen(None) as quick:
        for number in range(3):
            bus.publish(STARTED)
            assert await heard(quick, 1) == [(number + 1, "model.load.started")]
        assert slow.dropped.is_set() and not quick.dropped.is_set()
        assert bus.listeners == 1
    with bus.listen(None) as back:
        bus.resume(back, 0)
        assert [seq for seq, _ in await heard(back, 3)] == [1, 2, 3]
        bus.publish(STARTED)
        bus.publish(STARTED)
        assert not back.dropped.is_set()


async def test_a_closed_session_leaves_no_past() -> None:
    bus = Bus()
    with bus.listen("a") as listener:
        bus.publish(SessionClosed(reason="deleted"), "a")
        assert await heard(listener, 1) == [(1, "session.closed")]
    with bus.listen("a") as back:
        assert bus.resume(back, 0).records == ()


def test_events_are_frozen() -> None:
    with pytest.raises(AttributeError):
        STARTED.model_id = "other"  # type: ignore[misc]
