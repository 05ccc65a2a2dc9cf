"""Engines that cannot be reached, or that refuse."""

from __future__ import annotations

from tests.backends.remote.rig import black_hole
from tests.faults.door import SAFE, SOON, registry_of, serving
from tests.faults.ledger import WHOLE, Ledger
from tests.faults.scripted_engine import ScriptedEngine, raw


async def test_e01_refused_connections(
    ledger: Ledger, seed: int, engine: ScriptedEngine, second: ScriptedEngine
) -> None:
    await second.stop()
    async with serving(registry_of(engine.url, second.url), ledger, seed) as door:
        assert {entry.ending for entry in await door.burst(8)} == {WHOLE}
        await engine.stop()
        for entry in await door.burst(4) + await door.burst(4, stream=False):
            assert entry.ending == "status 503"
            assert int(entry.header("Retry-After") or 0) >= 1
            assert entry.seconds < 1
    ledger.settle(engine)
    assert not second.executions


async def test_e02_black_hole(ledger: Ledger, seed: int, engine: ScriptedEngine) -> None:
    with black_hole() as nowhere:
        async with serving(registry_of(nowhere, engine.url, timeouts=SOON), ledger, seed) as door:
            await door.burst(6)
    ledger.settle(engine)
    assert engine.executions.total() == 6


async def test_e03_reset_before_the_head(
    ledger: Ledger, seed: int, engine: ScriptedEngine, second: ScriptedEngine
) -> None:
    engine.script = raw(then="reset")
    async with serving(registry_of(engine.url, second.url), ledger, seed) as door:
        for stream in (True, False):
            endings = {(await door.ask(stream=stream)).ending for _ in range(2)}
            assert endings == {"status 502", WHOLE}, "they take turns"
        ledger.settle(engine, second)
        for stream in (True, False):
            for entry in await door.burst(2, stream=stream, headers=SAFE):
                assert entry.ending == WHOLE
    ledger.settle(engine, second, at_most=2)
