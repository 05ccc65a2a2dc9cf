"""Draining waits for what is in flight, and not for ever."""

from __future__ import annotations

import asyncio

from proxy.routing.traffic import Traffic


async def test_an_idle_door_drains_at_once() -> None:
    traffic = Traffic()
    assert traffic.reason is None
    assert await traffic.drain(0)
    assert traffic.reason == "draining"


async def serve(traffic: Traffic, model: str, until: asyncio.Event) -> None:
    traffic.enter(model, "e")
    try:
        await until.wait()
    finally:
        traffic.leave(model, "e")


async def test_draining_ends_with_the_last_request() -> None:
    traffic = Traffic()
    first, second = asyncio.Event(), asyncio.Event()
    requests = [asyncio.create_task(serve(traffic, "m", first)), asyncio.create_task(serve(traffic, "n", second))]
    await asyncio.sleep(0)
    assert traffic.in_flight == {("m", "e"): 1, ("n", "e"): 1}
    draining = asyncio.create_task(traffic.drain(60))
    first.set()
    await requests[0]
    await asyncio.sleep(0)
    assert not draining.done()
    second.set()
    assert await draining
    assert not +traffic.in_flight


async def test_at_the_deadline_what_is_left_is_cut() -> None:
    traffic = Traffic()
    request = asyncio.create_task(serve(traffic, "m", asyncio.Event()))
    await asyncio.sleep(0)
    assert not await traffic.drain(0.01)
    await traffic.cut()
    assert request.cancelled()


async def test_who_stays_is_told_to_leave_and_waited_for() -> None:
    traffic = Traffic()
    waits = asyncio.Event()

    async def stay() -> None:
        with traffic.staying():
            await traffic.leaving.wait()
            await waits.wait()

    staying = asyncio.create_task(stay())
    await asyncio.sleep(0)
    assert not +traffic.in_flight
    draining = asyncio.create_task(traffic.drain(60))
    await asyncio.sleep(0.01)
    assert traffic.leaving.is_set() and not draining.done()
    waits.set()
    assert await draining and staying.done()


async def test_who_stays_too_long_is_cut() -> None:
    traffic = Traffic()

    async def stay() -> None:
        with traffic.staying():
            await asyncio.Event().wait()

    staying = asyncio.create_task(stay())
    await asyncio.sleep(0)
    assert not await traffic.drain(0.01)
    await traffic.cut()
    assert staying.cancelled()


def test_loading_is_a_reason_too() -> None:
    traffic = Traffic()
    traffic.preloading = True
    assert traffic.reason == "loading models"
