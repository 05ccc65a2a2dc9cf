"""Draining waits for what is in flight, and not for ever."""

from __future__ import annotations

import asyncio

from proxy.routing.traffic import Traffic


async def test_an_idle_door_drains_at_once() -> None:
    traffic = Traffic()
    assert traffic.reason is None
    assert await traffic.drain(0)
    assert traffic.reason == "draining"


async def test_draining_ends_with_the_last_request() -> None:
    traffic = Traffic()
    traffic.enter("m", "e")
    traffic.enter("n", "e")
    draining = asyncio.create_task(traffic.drain(60))
    await asyncio.sleep(0)
    traffic.leave("m", "e")
    await asyncio.sleep(0)
    assert not draining.done()
    traffic.leave("n", "e")
    assert await draining


async def test_draining_gives_up_at_its_deadline() -> None:
    traffic = Traffic()
    traffic.enter("m", "e")
    assert not await traffic.drain(0.01)


def test_loading_is_a_reason_too() -> None:
    traffic = Traffic()
    traffic.preloading = True
    assert traffic.reason == "loading models"
