"""Clients that go away, at each moment of a request's life."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from proxy.chats.store import ChatStore
from tests.faults.door import Asking, Door, registry_of, serving
from tests.faults.ledger import Ledger
from tests.faults.scripted_engine import STREAM_HEAD, Script, ScriptedEngine, paced, raw, silent, sound

AT_ONCE = 1.0
"""Seconds within which an engine learns that nobody waits for its answer any more."""
WAYS = ("close", "reset", "half")


async def freed(engine: ScriptedEngine, asking: Asking, how: str) -> None:
    """The client goes, and the engine gets to know."""
    asking.leave(how)
    ask = asking.entry.ask
    await engine.until(lambda: ask in engine.left, within=AT_ONCE)
    asking.writer.close()


@pytest.mark.parametrize("script", [silent, raw(STREAM_HEAD, then="hang")], ids=["no head", "head alone"])
async def test_c02_before_the_first_token(ledger: Ledger, seed: int, engine: ScriptedEngine, script: Script) -> None:
    engine.script = script
    async with serving(registry_of(engine.url), ledger, seed) as door:
        for number, how in enumerate(WAYS, 1):
            asking = await door.begin()
            await engine.executed(number)
            await freed(engine, asking, how)
    ledger.settle(engine)


async def test_c03_in_the_middle(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    engine.script = paced(0.02)
    engine.count = 500
    async with serving(registry_of(engine.url), ledger, seed, words=500) as door:
        for how in WAYS:
            asking = await door.begin()
            await asking.until(b'"content":"')
            await freed(engine, asking, how)
            chat = await door.begin_chat()
            await chat.until(b"\r\n\r\n")
            await freed(engine, chat, how)
            kept = await door.kept(chat.entry.ask)
            assert kept is not None and chat.entry.body is not None
            assert chat.entry.body.startswith(kept[0].encode())
            assert not kept[1]
    ledger.settle(engine)


async def test_c04_a_whole_answer(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    engine.script = silent
    async with serving(registry_of(engine.url), ledger, seed) as door:
        for number, how in enumerate(WAYS, 1):
            asking = await door.begin(stream=False)
            await engine.executed(number)
            await freed(engine, asking, how)
    ledger.settle(engine)


async def test_c05_during_a_commit(
    ledger: Ledger, seed: int, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client goes in the midst of keeping its question, or its answer: each is there whole, or not at all."""
    rng, reached = random.Random(seed), asyncio.Event()

    def told_in_the_midst_of(keep: str) -> None:
        kept = getattr(ChatStore, keep)

        async def keeping(*args: object, **kwargs: object) -> object:
            task = asyncio.ensure_future(kept(*args, **kwargs))
            for _ in range(rng.randint(0, 20)):
                await asyncio.sleep(0)
            reached.set()
            try:
                return await task
            finally:
                task.cancel()

        monkeypatch.setattr(ChatStore, keep, keeping)

    async with serving(registry_of(engine.url), ledger, seed) as door:
        await (await door.begin_chat()).rest()
        for keep in ("ask", "answer"):
            told_in_the_midst_of(keep)
            for _ in range(20):
                reached.clear()
                chat = await door.begin_chat()
                await reached.wait()
                chat.leave("reset")
                assert chat.entry.body is not None
                whole = (chat.entry.body.decode(), True)
                # The engine was quick, or the question alone is kept, or not even that.
                await eventually_kept(
                    door, chat.entry.ask, (whole,) if keep == "answer" else (whole, ("", False), None)
                )
            monkeypatch.undo()
    ledger.settle(engine)


async def eventually_kept(door: Door, ask: str, allowed: tuple[tuple[str, bool] | None, ...]) -> None:
    """What is kept of an answer is soon one of these, and never a half."""
    deadline = time.monotonic() + 5
    while (kept := await door.kept(ask)) not in allowed:
        assert kept == ("", False)
        assert time.monotonic() < deadline, kept
        await asyncio.sleep(0.005)


async def test_c01_in_the_queue(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    engine.script = silent
    async with serving(registry_of(engine.url), ledger, seed, max_in_flight=1, max_queued=10) as door:
        first = await door.begin()
        await engine.executed(1)
        queued = [await door.begin(stream=stream) for stream in (True, False) for _ in WAYS]
        await door.shows("switchboard_waiting", len(queued))
        for asking, how in zip(queued, WAYS * 2, strict=True):
            asking.leave(how)
        await door.shows("switchboard_waiting", 0)
        engine.script = sound
        await freed(engine, first, "close")
        await door.ask()
        for asking in queued:
            asking.writer.close()
    ledger.settle(engine)
    assert not engine.executions.keys() & {asking.entry.ask for asking in queued}
