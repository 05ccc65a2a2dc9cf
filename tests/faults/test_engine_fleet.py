"""One of several engines hangs, flaps, dies, or comes back as another; or all of them do."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from urllib.parse import urlsplit

from backends.base import HealthRules
from tests.backends.remote.rig import Answer
from tests.faults.door import SAFE, SOON, Door, exchange, post, registry_of, serving
from tests.faults.ledger import TOLD, WHOLE, Ledger
from tests.faults.scripted_engine import Script, ScriptedEngine, Turn, cut, each, paced, refusal, silent, sound

RULES = HealthRules(first_pause=0.5, check=0.1)
SAVED = 12
"""Retries beyond a fifth of all requests: those saved up, and one for each second."""
FAILS = refusal(b"500 Internal Server Error")


async def asked_again(door: Door, engine: ScriptedEngine, *engines: ScriptedEngine, within: float = 10.0) -> float:
    """Ask, sound requests all, until this engine is among those that answer; the seconds until then. Not in the door's books."""
    aside = replace(door, ledger=Ledger())
    before, begun = engine.executions.total(), time.monotonic()
    while engine.executions.total() == before:
        entry = await aside.ask()
        assert entry.ending in (WHOLE, "status 503")
        assert time.monotonic() - begun < within, "it is never asked again"
    aside.ledger.settle(engine, *engines)
    return time.monotonic() - begun


async def test_e09_hang_before_the_first_token(
    ledger: Ledger, seed: int, engine: ScriptedEngine, second: ScriptedEngine
) -> None:
    engine.script = silent
    await hang(ledger, seed, engine, second, "status 504")


async def test_e10_hang_in_the_middle(
    ledger: Ledger, seed: int, engine: ScriptedEngine, second: ScriptedEngine
) -> None:
    engine.script = cut(4, "hang", torn=9)
    await hang(ledger, seed, engine, second, TOLD)


async def hang(ledger: Ledger, seed: int, engine: ScriptedEngine, second: ScriptedEngine, ending: str) -> None:
    """The first engine hangs: whoever is there then is told, and nobody else gets there."""
    async with serving(registry_of(engine.url, second.url, timeouts=SOON, health=RULES), ledger, seed) as door:
        aside = replace(door, ledger=Ledger())  # how many go to which of the two is the policy's business
        while not engine.executions:
            entries = await aside.burst(4)
        assert {entry.ending for entry in entries} == {ending, WHOLE}
        assert max(entry.seconds for entry in entries) < 3
        aside.ledger.settle(engine, second)
        asked = engine.executions.total()
        await door.burst(8)
        assert engine.executions.total() == asked, "nobody is sent to an engine that hangs"
        engine.script = sound
        await asked_again(door, engine, second)
    ledger.settle(engine, second)
    ledger.note(f"those who were there then: {ending}")


async def test_e11_health_fails_while_tokens_flow(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    engine.script = paced(0.02)
    async with serving(registry_of(engine.url, health=RULES), ledger, seed) as door:
        await door.ask()
        for health in (503, None):
            engine.health = health
            assert {entry.ending for entry in await door.burst(10)} == {WHOLE}
    ledger.settle(engine)


async def test_e13_every_third_fails(ledger: Ledger, seed: int, engine: ScriptedEngine, second: ScriptedEngine) -> None:
    engine.script = each(3, FAILS)
    number = 60
    async with serving(registry_of(engine.url, second.url, health=RULES), ledger, seed) as door:
        for _ in range(number):
            await door.ask()
        assert engine.executions.total() + second.executions.total() == number
        assert engine.executions.total() == number / 2, "it is asked as often as ever"
        ledger.settle(engine, second)
        engine.script = second.script = each(2, FAILS)
        aside = replace(door, ledger=Ledger())  # how many are told of a failure depends on how fast they are sent
        for _ in range(number):
            await aside.ask(headers=SAFE)
        again = engine.executions.total() + second.executions.total() - 2 * number
        assert 0 < again <= number * 0.2 + SAVED
        aside.ledger.settle(engine, second, at_most=2)
    ledger.note(f"at most {number * 0.2:g} of {number} repeated, beside those saved up")


async def test_e14_all_fail(ledger: Ledger, seed: int, engine: ScriptedEngine, second: ScriptedEngine) -> None:
    engine.script = second.script = FAILS
    health = HealthRules(first_pause=1.0)
    async with serving(registry_of(engine.url, second.url, health=health), ledger, seed) as door:
        for _ in range(2 * health.failures):
            assert (await door.ask()).ending == "status 500"
        for entry in await door.burst(50):
            assert (entry.ending, entry.seconds < 1) == ("status 503", True)
            assert int(entry.header("Retry-After") or 0) >= 1
        assert engine.executions.total() + second.executions.total() == 2 * health.failures
        engine.script = second.script = sound
        await asked_again(door, engine, second)
        await asked_again(door, second, engine)
        await door.burst(10)
    ledger.settle(engine, second)


async def test_e21_another_model_comes_back(
    ledger: Ledger, seed: int, engine: ScriptedEngine, second: ScriptedEngine
) -> None:
    async with serving(registry_of(engine.url, second.url, health=RULES), ledger, seed) as door:
        await door.burst(6)
        await engine.stop()
        async with ScriptedEngine(seed, model="another", port=engine.port) as impostor:
            assert {entry.ending for entry in await door.burst(20)} == {WHOLE}
            await second.stop()
            assert {entry.ending for entry in await door.burst(5)} == {"status 503"}
            assert not impostor.executions
        await engine.start()
        await asked_again(door, engine, second)
        await second.start()
        await asked_again(door, second, engine)
    ledger.settle(engine, second)
    ledger.note("the other model answered none")


async def test_e22_restarted_while_drained(
    ledger: Ledger, seed: int, engine: ScriptedEngine, second: ScriptedEngine
) -> None:
    engine.script = second.script = paced(0.03)
    async with serving(registry_of(engine.url, second.url, health=RULES), ledger, seed) as door:
        streams = [await door.begin() for _ in range(6)]
        for stream in streams:
            await stream.until(b"data: ")
        before = engine.executions.total()
        assert (await drained(door, "drain?replica=engine%231")).status == 200
        ends, _ = await asyncio.gather(asyncio.gather(*(stream.rest() for stream in streams)), door.burst(6))
        assert {entry.ending for entry in ends} == {WHOLE}
        assert (await drained(door, "drain?replica=engine%231&wait=20")).status == 200
        assert engine.executions.total() == before == 3
        await engine.stop()
        engine.script = second.script = sound
        await door.burst(6)
        await engine.start()
        await drained(door, "undrain?replica=engine%231")
        await asked_again(door, engine, second)
    ledger.settle(engine, second)


async def drained(door: Door, what: str) -> Answer:
    """What the door says to an operator."""
    sent = post(f"/admin/engines/engine/{what}", b"{}", {"Host": urlsplit(door.url).netloc})
    return Answer(await exchange(door.url, sent))


async def test_e23_poison(ledger: Ledger, seed: int, engine: ScriptedEngine, second: ScriptedEngine) -> None:
    async with ScriptedEngine(seed) as third:
        engines = (engine, second, third)
        for one in engines:
            one.script = dies_of("poison", one)
        urls = [one.url for one in engines]
        async with serving(registry_of(*urls, health=RULES), ledger, seed) as door:
            await door.burst(9)
            for deaths in (1, 2):
                assert (await door.ask(ask="poison", again=True)).ending == "status 502"
                await door.burst(6)
                await door.shows("switchboard_replica_ejections_total", deaths, or_more=True)
            for _ in range(5):
                assert (await door.ask(ask="poison", again=True)).ending in ("status 422", "status 503")
            await door.burst(6)
            assert sum(one.listening for one in engines) == len(engines) - 2
    ledger.settle(*engines, at_most=2)


def dies_of(poison: str, engine: ScriptedEngine) -> Script:
    """A script that ends its engine at one request, and answers all others."""

    async def script(turn: Turn) -> None:
        if turn.said.ask == poison:
            await engine.stop()
        else:
            await sound(turn)

    return script
