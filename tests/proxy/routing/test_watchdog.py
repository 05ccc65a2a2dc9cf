"""Real engines behind the door that die, hang, come back, come back as others: what callers get, and who gets the next request."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress

from aiohttp import ClientSession

from backends.base import EngineSpec, HealthRules, ModelSpec, Timeouts
from proxy.app import build_app
from proxy.keys import DISPATCHER
from proxy.registry.models import ModelEntry, Registry, Target
from proxy.routing.health import End, State
from proxy.serve import make_runner
from proxy.settings import Settings
from tests.backends.remote.rig import dead_port
from tests.engines.vllm_double import Fault, VllmDouble
from tests.proxy.routing.door import RULES, SOON, STREAM, Door, door
from tests.support import serve_running

# --------------------------------------------------------------------------- dead


async def test_a_replica_that_is_dead_at_start_costs_nobody_anything() -> None:
    with dead_port() as dead:
        async with VllmDouble("served") as engine, door(dead, engine.url) as proxy:
            assert await proxy.statuses(6) == [200] * 6
            assert len(engine.requests) == 6
            assert proxy.replicas[0].health.kind is End.GONE


async def test_where_all_are_dead_the_caller_learns_why_and_when() -> None:
    slow = HealthRules(first_pause=30)
    with dead_port() as one, dead_port() as other:
        async with door(one, other, rules=slow) as proxy:
            assert "cannot be reached" in (await proxy.ask())[1]
            status, body, headers = await proxy.ask()
            assert status == 503
            assert "No replica of `m` can serve now: gpu#1 (ejected: it accepts no connection, next trial in" in body
            assert 1 <= int(headers["Retry-After"]) <= 5


async def test_one_that_comes_back_serves_again_after_one_request() -> None:
    async with VllmDouble("served") as one, VllmDouble("served") as other, door(one.url, other.url) as proxy:
        await proxy.statuses(4)
        async with one.refusing():
            assert await proxy.statuses(6) == [200] * 6
            assert proxy.replicas[0].health.out
        seen = len(one.requests)
        async with asyncio.timeout(5):
            while not proxy.replicas[0].health.serving:
                assert (await proxy.ask())[0] == 200
        assert len(one.requests) == seen + 1


async def test_a_lone_engine_that_comes_back_is_found_before_its_pause_ends() -> None:
    rules = HealthRules(first_pause=60, check=0.1)
    async with VllmDouble("served") as engine, door(engine.url, rules=rules) as proxy:
        async with engine.refusing():
            assert await proxy.statuses(2) == [503, 503]
        async with asyncio.timeout(2):
            while (await proxy.ask())[0] != 200:
                pass


async def test_many_who_ask_while_one_finds_out_wait_for_it() -> None:
    async with VllmDouble("served") as engine, door(engine.url) as proxy:
        async with engine.refusing():
            await proxy.ask()
        await asyncio.sleep(0.3)
        engine.fail(Fault(kind="slow", seconds=0.4))
        answers = await asyncio.gather(*(proxy.ask() for _ in range(20)))
        assert [status for status, _, _ in answers] == [200] * 20


async def test_streams_of_one_that_dies_end_in_an_error_and_new_ones_go_elsewhere() -> None:
    async with VllmDouble("served") as one, VllmDouble("served") as other, door(one.url, other.url) as proxy:
        one.fail(*[Fault(kind="reset", after=2)] * 5)
        answers = await asyncio.gather(*(proxy.ask(**STREAM) for _ in range(10)))
        broken = [body for _, body, _ in answers if "[DONE]" not in body]
        assert len(broken) == 5
        assert all('"error"' in body for body in broken)
        assert proxy.replicas[0].health.kind is End.BROKEN
        served = len(other.requests)
        assert await proxy.statuses(4) == [200] * 4
        assert len(other.requests) >= served + 3


# --------------------------------------------------------------------------- hung


async def test_one_that_hangs_while_its_health_is_200_is_out_until_a_request_is_answered() -> None:
    async with VllmDouble("served") as one, VllmDouble("served") as other:
        rules = HealthRules(first_pause=30, longest_pause=60, check=0.1)
        async with door(one.url, other.url, rules=rules, timeouts=Timeouts(first_byte=2, idle=2)) as proxy:
            one.fail(Fault(kind="hang", after=2), *[Fault(kind="hang")] * 50)
            # The first to fall silent for two seconds speaks for all that are there, young ones, too.
            first = asyncio.gather(*(proxy.ask(**STREAM) for _ in range(2)))
            await one.until(lambda engine: engine.running > 0)
            await asyncio.sleep(0.3)
            answers = [*await asyncio.gather(*(proxy.ask(**STREAM) for _ in range(6))), *await first]
            assert proxy.replicas[0].health.kind is End.SILENT
            cut = [body for _, body, _ in answers if "[DONE]" not in body]
            assert len(cut) > 1
            assert all("said nothing" in body or "fallen silent" in body for body in cut)
            assert any("fallen silent" in body for body in cut)
            seen = len(one.requests)
            await asyncio.sleep(0.5)
            assert await proxy.statuses(10) == [200] * 10
            assert len(one.requests) == seen


async def test_silence_may_be_judged_sooner_than_any_request_would() -> None:
    rules = HealthRules(silence=0.3, first_pause=30)
    patient = Timeouts(first_byte=30, idle=30)
    async with VllmDouble("served") as engine, door(engine.url, rules=rules, timeouts=patient) as proxy:
        engine.fail(Fault(kind="hang"))
        status, body, _ = await asyncio.wait_for(proxy.ask(), 2)
        assert (status, "fallen silent" in body) == (504, True)
        assert proxy.replicas[0].health.kind is End.SILENT


async def test_callers_who_leave_a_hung_engine_before_they_time_out_give_it_away_together() -> None:
    timeouts = Timeouts(first_byte=0.6, idle=0.6)
    async with VllmDouble("served") as engine, door(engine.url, timeouts=timeouts, rules=HealthRules()) as proxy:
        engine.fail(*[Fault(kind="hang")] * 99)
        while not proxy.replicas[0].health.out:
            with suppress(TimeoutError):
                await asyncio.wait_for(proxy.ask(), 0.25)
        assert proxy.replicas[0].health.kind is End.SILENT


async def test_a_slow_engine_is_none_that_hangs() -> None:
    async with VllmDouble("served") as engine, door(engine.url, rules=HealthRules(silence=0.4)) as proxy:
        engine.fail(*[Fault(kind="slow", seconds=0.2)] * 3)
        answers = await asyncio.gather(*(proxy.ask(stream=True, max_tokens=8) for _ in range(3)))
        assert all("[DONE]" in body for _, body, _ in answers)
        assert proxy.replicas[0].health.serving


async def test_a_loop_that_stood_still_blames_no_engine() -> None:
    async with VllmDouble("served") as one, VllmDouble("served") as other, door(one.url, other.url) as proxy:
        one.fail(Fault(kind="slow", seconds=0.1))
        other.fail(Fault(kind="slow", seconds=0.1))
        asking = [asyncio.ensure_future(proxy.ask(stream=True, max_tokens=8)) for _ in range(2)]
        await one.until(lambda engine: engine.running > 0)
        await other.until(lambda engine: engine.running > 0)
        time.sleep(2.5)  # noqa: ASYNC251 - as a stopped process does
        await asyncio.gather(*asking)
        assert all(replica.health.serving for replica in proxy.replicas)


# --------------------------------------------------------------------------- wrong requests, full engines


async def test_a_storm_of_4xx_opens_nothing() -> None:
    async with VllmDouble("served") as engine, door(engine.url) as proxy:
        engine.fail(*[Fault(kind="status", status=status) for status in (400, 404, 401) * 20])
        assert set(await proxy.statuses(60)) == {400, 404, 502}  # an engine that refuses our key is ours to explain
        assert await proxy.statuses(1) == [200]
        assert proxy.replicas[0].health.serving


async def test_three_failures_in_a_row_eject_and_one_now_and_then_does_not() -> None:
    async with VllmDouble("served") as engine, door(engine.url, rules=HealthRules(first_pause=30)) as proxy:
        for _ in range(4):
            engine.fail(Fault(kind="status", status=500), Fault(kind="status", status=500))
            assert await proxy.statuses(3) == [500, 500, 200]
        engine.fail(*[Fault(kind="status", status=500)] * 3)
        assert await proxy.statuses(4) == [500, 500, 500, 503]


async def test_a_full_engine_is_spared_and_its_word_passed_on_where_it_is_alone() -> None:
    async with VllmDouble("served") as one, VllmDouble("served") as other:
        full = Fault(kind="status", status=429, headers={"Retry-After": "30"})
        async with door(one.url, other.url) as proxy:
            one.fail(full)
            assert await proxy.statuses(8) == [200] * 8
            assert proxy.replicas[0].health.state is State.RESTING
            assert len(other.requests) == 8 - (len(one.requests) - 1)
        async with door(one.url) as proxy:
            one.fail(full)
            status, _, headers = await proxy.ask()
            assert (status, headers["Retry-After"]) == (429, "30")
            assert await proxy.statuses(3) == [200] * 3


# --------------------------------------------------------------------------- another model


async def test_an_engine_that_comes_back_with_another_model_is_not_asked() -> None:
    async with VllmDouble("served") as one, VllmDouble("served") as other, door(one.url, other.url) as proxy:
        await proxy.statuses(2)
        async with one.refusing():
            one.model = "stranger"
        seen = len(one.requests)
        assert await proxy.statuses(8) == [200] * 8
        assert len(one.requests) == seen
        assert proxy.replicas[0].identity.wrong == {"served": "it serves `stranger`, not `served`"}
        async with one.refusing():
            one.model = "served"
        async with asyncio.timeout(5):
            while len(one.requests) == seen:
                assert await proxy.statuses(1) == [200]


async def test_the_wrong_engine_at_start_is_told_by_name_and_stops_nothing() -> None:
    async with VllmDouble("stranger") as engine, door(engine.url) as proxy:
        async with ClientSession() as session, session.get(f"{proxy.url}/ready") as ready:
            assert ready.status == 200
        for _ in range(2):
            status, body, headers = await proxy.ask()
            assert status == 503
            assert "gpu (it serves `stranger`, not `served`)" in body
            assert "Retry-After" in headers
        assert not engine.requests


async def test_any_name_is_not_compared_and_nobody_need_be() -> None:
    async with VllmDouble("stranger") as engine:
        async with door(engine.url, aliases=("*",)) as proxy:
            assert await proxy.statuses(1) == [404]
        async with door(engine.url, rules=HealthRules(identity=False)) as proxy:
            assert await proxy.statuses(1) == [404]
        assert len(engine.requests) == 2


async def test_engines_that_answer_to_any_name_are_held_to_what_they_were() -> None:
    async with VllmDouble("some-model") as engine, door(engine.url, kind="openai_compatible") as proxy:
        assert await proxy.statuses(1) == [404]
        async with engine.refusing():
            engine.model = "other-model"
        assert await proxy.statuses(1) == [503]
        assert "another engine before" in proxy.replicas[0].identity.wrong["served"]


async def test_a_models_health_check_tells_what_requests_have_shown_of_an_engine_that_says_it_is_well() -> None:
    async with VllmDouble("served") as engine, door(engine.url, rules=HealthRules(first_pause=30)) as proxy:
        path = f"{proxy.url}/api/models/m/health-check"
        async with ClientSession() as session:
            async with session.post(path) as answer:
                assert (await answer.json())["status"] == "healthy"
            engine.fail(*[Fault(kind="status", status=500)] * 3)
            await proxy.statuses(3)
            async with session.post(path) as answer:
                told = await answer.json()
        assert told["status"] == "unhealthy"
        assert "gpu (ejected: it answered 500" in told["checks"]["inference"]["message"]


# --------------------------------------------------------------------------- among engines


async def test_a_trial_goes_to_no_engine_of_lower_priority() -> None:
    async with VllmDouble("served") as first, VllmDouble("served") as second:
        engines = {
            name: EngineSpec(name=name, kind="vllm", urls=(engine.url,), timeouts=SOON, health=RULES)
            for name, engine in (("first", first), ("second", second))
        }
        model = ModelSpec(source="served", name="m")
        targets = (Target(engine="first", spec=model), Target(engine="second", spec=model, priority=1))
        entry = ModelEntry(name="m", engine="first", spec=model, task="text", targets=targets)
        app = build_app(Settings(), Registry(engines=engines, models=(entry,)))
        async with serve_running(app, make_runner(app)) as url:
            (spare,) = app[DISPATCHER].fleet.replicas("second")
            spare.health.eject(asyncio.get_running_loop().time() - 1, End.STATUS, "why")
            proxy = Door(url, [spare])
            assert await proxy.statuses(3) == [200] * 3
            assert not second.requests
            async with first.refusing():
                assert await proxy.statuses(3) == [200] * 3
            assert len(second.requests) == 3


# --------------------------------------------------------------------------- to see


async def test_metrics_tell_what_became_of_each_replica() -> None:
    async with VllmDouble("served") as one, VllmDouble("stranger") as other, door(one.url, other.url) as proxy:
        await proxy.statuses(2)
        async with one.refusing():
            await proxy.statuses(2)
        async with ClientSession() as session, session.get(f"{proxy.url}/metrics") as answer:
            told = await answer.text()
        assert 'switchboard_replica_state{engine="gpu",replica="gpu#1",state="ejected"} 1.0' in told
        assert 'switchboard_replica_state{engine="gpu",replica="gpu#2",state="serving"} 1.0' in told
        assert 'switchboard_replica_wrong_models{engine="gpu",replica="gpu#2"} 1.0' in told
        assert 'switchboard_replica_ejections_total{engine="gpu",reason="gone",replica="gpu#1"} 1.0' in told


# --------------------------------------------------------------------------- poison


async def test_a_request_that_has_killed_two_engines_is_not_sent_to_a_third() -> None:
    async with (
        VllmDouble("served") as one,
        VllmDouble("served") as two,
        VllmDouble("served") as three,
        door(one.url, two.url, three.url) as proxy,
        AsyncExitStack() as graves,
    ):
        deadly = {"messages": [{"role": "user", "content": "deadly"}]}
        for engine in (one, two):
            engine.fail(Fault(kind="reset"))
            assert (await proxy.ask(**deadly))[0] == 502
            await graves.enter_async_context(engine.refusing())
            await asyncio.sleep(0.5)
        status, body, _ = await proxy.ask(**deadly)
        assert (status, "Two engines died while they served this very request" in body) == (422, True)
        assert await proxy.statuses(3) == [200] * 3
        assert len(three.requests) == 3
