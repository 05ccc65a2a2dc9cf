"""Streams that engines cut, tear, garble or draw out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.backends.remote.rig import chunked
from tests.faults.door import SOON, Door, registry_of, serving
from tests.faults.ledger import CUT, TOLD, WHOLE, Ledger
from tests.faults.scripted_engine import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedEngine,
    other,
    paced,
)
from tests.faults.toxic import Limit, Slicer, ToxicProxy

COUNT = 2


async def kept_as_incomplete(door: Door) -> None:
    """Ask the chat endpoint: what came of the answer is kept, and never as complete."""
    entry = await (await door.begin_chat()).rest()
    assert entry.ending == CUT
    assert await door.kept(entry.ask) == (entry.answer.body.decode(), False)


async def test_e04_closed_at_each_byte(ledger: Ledger, seed: int) -> None:
    # When all was said it is no matter that the chunk's end, and the last chunk, are missing.
    unsaid = len(b"\r\n" + LAST_CHUNK)
    async with ScriptedEngine(seed, count=COUNT) as engine, ToxicProxy(engine.port, seed) as network:
        async with serving(registry_of(network.url), ledger, seed, words=COUNT) as door:
            for missing in range(1000):
                ask = f"ask-{missing}"
                size = (
                    len(STREAM_HEAD) + sum(len(chunked(frame)) for frame in engine.said(ask).frames) + len(LAST_CHUNK)
                )
                if missing == size:
                    break
                network.down = (Limit(size - missing),)
                assert ((await door.ask(ask=ask)).ending == WHOLE) == (missing <= unsaid), missing
            network.down = (Limit(size // 2),)
            await kept_as_incomplete(door)
        ledger.settle(engine)


async def test_e05_no_done(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    async with serving(registry_of(engine.url), ledger, seed) as door:
        for end in (LAST_CHUNK, b""):
            engine.script = other(lambda frames: frames[:-1], then="close", end=end)
            assert (await door.ask()).ending == TOLD
            await kept_as_incomplete(door)
    ledger.settle(engine)


async def test_e06_no_finish_reason(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    def unfinished(frames: list[bytes]) -> list[bytes]:
        return [*frames[:-3], *frames[-2:]]

    engine.script = other(unfinished)
    async with serving(registry_of(engine.url), ledger, seed) as door:
        entry = await door.ask(frames=lambda said: unfinished(list(said.frames)))
        assert (entry.ending, await door.metric("switchboard_broken_answers_total")) == (WHOLE, 1)
        await kept_as_incomplete(door)
    ledger.settle(engine)
    ledger.note("both counted as failed")


async def test_e07_finish_reason_and_never_done(
    ledger: Ledger, seed: int, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in ("relay", "openai_backend"):
        monkeypatch.setattr(f"backends.remote.{room}.FINISHED_FOR", 0.2)
    engine.script = other(lambda frames: frames[:-1], then="hang", end=b"")
    async with serving(registry_of(engine.url, timeouts=replace(SOON, idle=2.0)), ledger, seed) as door:
        entry = await door.ask()
        assert (entry.ending, entry.seconds < 2.0) == (WHOLE, True)
        assert await door.metric("switchboard_broken_answers_total") == 0
        await engine.until(lambda: entry.ask in engine.left)
        chat = await (await door.begin_chat()).rest()
        assert (chat.ending, chat.seconds < 2.0) == (WHOLE, True)
        assert await door.kept(chat.ask) == (chat.answer.body.decode(), True)
    ledger.settle(engine)


async def test_e08_aborted_by_the_engine(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    def aborted(frames: list[bytes]) -> list[bytes]:
        return [frame.replace(b'"finish_reason":"stop"', b'"finish_reason":"abort"') for frame in frames]

    engine.script = other(aborted)
    async with serving(registry_of(engine.url), ledger, seed) as door:
        await door.ask(frames=lambda said: aborted(list(said.frames)))
        assert await door.metric("switchboard_broken_answers_total") == 1
        await kept_as_incomplete(door)
    ledger.settle(engine)
    ledger.note("both counted as failed")


async def test_e12_slow_tokens(ledger: Ledger, seed: int) -> None:
    idle = 0.7
    async with ScriptedEngine(seed, count=1) as engine:
        registry = registry_of(engine.url, timeouts=replace(SOON, first_byte=idle, idle=idle))
        async with serving(registry, ledger, seed, words=1) as door:
            engine.script = paced(idle * 0.4)
            await door.ask()
            comment = b": still here\n\n"
            engine.script = paced(idle * 1.2, comment)
            await door.ask(frames=lambda said: [part for frame in said.frames for part in (comment, frame)])
    ledger.settle(engine)


async def test_e17_torn_packets(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    async with ToxicProxy(engine.port, seed) as network, serving(registry_of(network.url), ledger, seed) as door:
        for slicer in (Slicer(1), *(Slicer(size, jitter=size) for size in (2, 7, 60, 300))):
            network.down = (slicer,)
            await door.ask()
            await door.ask(stream=False)
            chat = await (await door.begin_chat()).rest()
            assert await door.kept(chat.ask) == (chat.answer.body.decode(), True)
    ledger.settle(engine)


async def test_e19_what_is_no_json(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    odd = (
        b'data: {"choices":[{"index":0,"delta":{"content":"x"},"logprobs":{"content":[{"logprob":NaN}]}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":Infinity}}]}\n\n',
        b'data: {"choices":[{"index":0,"del\n\n',
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"a\\": tr"}}]}}]}\n\n',
        b"data: \xff\xfe\n\n",
    )
    async with serving(registry_of(engine.url), ledger, seed) as door:
        for strange in odd:

            def with_it(frames: list[bytes], strange: bytes = strange) -> list[bytes]:
                return [*frames[:3], strange, *frames[3:]]

            engine.script = other(with_it)
            await door.ask(frames=lambda said: with_it(list(said.frames)))
        engine.script = other(lambda frames: [*frames[:3], odd[2], *frames[3:]])
        await kept_as_incomplete(door)
    ledger.settle(engine)


async def test_e20_an_event_twice(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    def doubled(frames: list[bytes]) -> list[bytes]:
        return [*frames[:3], frames[2], *frames[3:]]

    engine.script = other(doubled)
    async with serving(registry_of(engine.url), ledger, seed) as door:
        await door.ask(frames=lambda said: doubled(list(said.frames)))
    ledger.settle(engine)
