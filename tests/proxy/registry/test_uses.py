"""Uses are counted once each, many at a time, however writing goes."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime

import pytest

from proxy.registry import uses as module
from proxy.registry.uses import Counts, Uses

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Ledger:
    """What was written; a failure to come, and a gate to wait at."""

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        self.writes = 0
        self.failure: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def write(self, counts: Counts) -> None:
        self.writes += 1
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        self.total.update({name: count for name, (count, _) in counts.items()})


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


async def test_many_at_a_time_are_two_writes(ledger: Ledger) -> None:
    uses = Uses(ledger.write)
    await asyncio.gather(*(uses.add("m", NOW) for _ in range(100)))
    assert ledger.total == {"m": 100}
    assert ledger.writes <= 2


async def test_what_comes_while_others_are_written_is_written_after_them(ledger: Ledger) -> None:
    ledger.open.clear()
    uses = Uses(ledger.write)
    first = asyncio.create_task(uses.add("m", NOW))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second = asyncio.create_task(uses.add("m", NOW))
    await asyncio.sleep(0)
    ledger.open.set()
    await asyncio.gather(first, second)
    assert (ledger.total, ledger.writes) == ({"m": 2}, 2)


async def test_what_fails_fails_nobody_and_is_written_later(ledger: Ledger) -> None:
    ledger.failure = LookupError()
    uses = Uses(ledger.write)
    await uses.add("m", NOW)
    await uses.add("n", NOW)
    with pytest.raises(LookupError):
        await uses.again()
    ledger.failure = None
    await uses.again()
    await uses.again()
    assert ledger.total == {"m": 1, "n": 1}


async def test_a_slow_database_holds_up_no_answer_for_long(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNT_SECONDS", 0.01)
    ledger.open.clear()
    uses = Uses(ledger.write)
    async with asyncio.timeout(1):
        await uses.add("m", NOW)
    ledger.open.set()
    await uses.close()
    assert ledger.total == {"m": 1}


async def test_the_end_waits_for_what_is_being_written(ledger: Ledger) -> None:
    ledger.open.clear()
    uses = Uses(ledger.write)
    adding = asyncio.create_task(uses.add("m", NOW))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    closing = asyncio.create_task(uses.close())
    await asyncio.sleep(0)
    ledger.open.set()
    await asyncio.gather(adding, closing)
    assert (ledger.total, ledger.writes) == ({"m": 1}, 1)
