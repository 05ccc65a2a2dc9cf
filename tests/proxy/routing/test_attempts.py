"""A request that failed: what is done again, where, and how often; and one that gets a second replica while it waits."""

from __future__ import annotations

import asyncio
import time

import pytest

from backends.base import HealthRules, Timeouts
from tests.engines.vllm_double import Fault, VllmDouble
from tests.proxy.routing.door import STREAM, door


@pytest.mark.parametrize("fault", [Fault(kind="status", status=500), Fault(kind="reset"), Fault(kind="hang")])
async def test_what_may_have_been_done_is_done_again_only_where_that_is_said_to_be_safe(fault: Fault) -> None:
    async with VllmDouble("served") as one, VllmDouble("served") as other, door(one.url, other.url) as proxy:
        for engine in (one, other):
            engine.fail(fault)
        statuses = await proxy.statuses(2)
        assert all(status >= 500 for status in statuses)
        assert len(one.requests) + len(other.requests) == 2
    async with VllmDouble("served") as one, VllmDouble("served") as other, door(one.url, other.url) as proxy:
        proxy.headers["X-Switchboard-Retry"] = "safe"
        one.fail(fault)
        assert await proxy.statuses(2) == [200] * 2
        assert len(one.requests) + len(other.requests) == 3


async def test_nothing_is_done_again_after_its_first_byte() -> None:
    async with VllmDouble("served") as one, VllmDouble("served") as other, door(one.url, other.url) as proxy:
        proxy.headers["X-Switchboard-Retry"] = "safe"
        one.fail(Fault(kind="cut", after=2))
        answers = [await proxy.ask(**STREAM) for _ in range(2)]
        assert sorted("[DONE]" in body for _, body, _ in answers) == [False, True]
        assert len(one.requests) + len(other.requests) == 2


async def test_retries_of_engines_that_all_fail_stay_within_the_budget() -> None:
    many = HealthRules(failures=1000)
    async with (
        VllmDouble("served") as one,
        VllmDouble("served") as other,
        door(one.url, other.url, rules=many) as proxy,
    ):
        proxy.headers["X-Switchboard-Retry"] = "safe"
        for engine in (one, other):
            engine.fail(*[Fault(kind="status", status=500)] * 500)
        started = time.monotonic()
        assert set(await proxy.statuses(100)) == {500}
        allowed = 10 + 0.2 * 100 + (time.monotonic() - started) + 1
        assert 100 + 10 <= len(one.requests) + len(other.requests) <= 100 + allowed


async def test_another_word_about_retries_is_refused() -> None:
    async with VllmDouble("served") as engine, door(engine.url) as proxy:
        proxy.headers["X-Switchboard-Retry"] = "please"
        status, body, _ = await proxy.ask()
        assert (status, "X-Switchboard-Retry" in body) == (400, True)
        assert not engine.requests


async def test_a_safe_request_that_takes_long_to_begin_is_answered_by_a_second_replica() -> None:
    patient = Timeouts(first_byte=5, idle=5)
    async with (
        VllmDouble("served") as one,
        VllmDouble("served") as other,
        door(one.url, other.url, timeouts=patient, hedge_ms=100) as proxy,
    ):
        for engine in (one, other):
            engine.fail(Fault(kind="hang"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(proxy.ask(), 0.4)
        assert len(one.requests) + len(other.requests) == 1
        slow, quick = (one, other) if not one.requests else (other, one)
        proxy.headers["X-Switchboard-Retry"] = "safe"
        started = time.monotonic()
        status, body, _ = await proxy.ask(**STREAM)
        assert (status, "[DONE]" in body) == (200, True)
        assert 0.1 <= time.monotonic() - started < 1
        # The one that was let go has seen its caller leave.
        await slow.until(lambda engine: bool(engine.aborts))
        assert (len(slow.requests), len(quick.requests)) == (1, 2)
        assert all(replica.health.serving for replica in proxy.replicas)
        assert all(not replica.in_flight for replica in proxy.replicas)
