"""Between a client that sends and a decoder that reads: so much waits, and no more."""

from __future__ import annotations

import asyncio

from proxy.captions.audio import WAITING_BYTES, Inlet


async def test_the_inlet_is_bounded_and_ends() -> None:
    inlet = Inlet()
    writing = asyncio.create_task(inlet.put(bytes(WAITING_BYTES)))
    await writing
    more = asyncio.create_task(inlet.put(b"more"))
    await asyncio.sleep(0)
    assert not more.done()
    assert len(await inlet.get()) == WAITING_BYTES
    await more
    inlet.end()
    await inlet.put(b"late")
    assert [await inlet.get(), await inlet.get()] == [b"more", b""]
