"""Requests that come, wait, leave and fail at any moment: no slot is held by nobody, and nobody waits for a free one."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from backends.base import EngineSpec, ModelSpec
from proxy.caller import Caller, Priority
from proxy.errors import ApiError
from proxy.observability.call import Call
from proxy.observability.metrics import Metrics
from proxy.registry.models import ModelEntry, Registry, Target
from proxy.routing.admission import LOOK_SECONDS, Admission
from proxy.routing.lines import Rules

SLOTS, CLIENTS = 3, 400
ENTRY = ModelEntry(name="m", engine="gpu", spec=ModelSpec(source="m"), task="text")
REGISTRY = Registry(
    engines={"gpu": EngineSpec(name="gpu", kind="vllm", urls=("http://127.0.0.1:9",))},
    models=(ENTRY,),
    limits={"gpu": SLOTS},
)


def admission(replicas: list[int], rules: Rules) -> Admission:
    made = Admission(rules, Metrics({}), lambda _: replicas[0])
    made.serve_from(REGISTRY)
    return made


def call(key: str = "", priority: Priority = Priority.NORMAL) -> Call:
    return Call("id", "POST", "/", model="m", engine="gpu", caller=Caller(key, priority))


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_becomes_of_requests_their_slots_are_free_at_the_end(seed: int) -> None:
    draw = random.Random(seed)
    door = admission([1], Rules(most=20, patience=0.02))
    running, most, outcomes = 0, 0, []

    async def request() -> None:
        nonlocal running, most
        async with door.admit(ENTRY, call(draw.choice("abc"), draw.choice([*Priority]))):
            running += 1
            most = max(most, running)
            try:
                for _ in range(draw.randrange(4)):
                    await asyncio.sleep(0)
                if draw.random() < 0.1:
                    raise RuntimeError("the engine failed")
            finally:
                running -= 1

    tasks = []
    for _ in range(CLIENTS):
        tasks.append(asyncio.create_task(request()))
        if draw.random() < 0.3:
            draw.choice(tasks).cancel()
        if draw.random() < 0.7:
            await asyncio.sleep(0)
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    kinds = {type(outcome) for outcome in outcomes}
    assert {type(None), asyncio.CancelledError, RuntimeError, ApiError} >= kinds
    assert kinds >= {type(None), asyncio.CancelledError}
    assert (most, running) == (SLOTS, 0)
    (pool,) = door._lines.pools
    assert (pool.in_flight, door._queue.waiting, door._queue.bytes) == (0, 0, 0)


async def test_a_replica_that_comes_back_is_seen_while_others_wait() -> None:
    replicas = [1]
    door = admission(replicas, Rules())
    released, held = asyncio.Event(), asyncio.Semaphore(0)

    async def request() -> None:
        async with door.admit(ENTRY, call()):
            held.release()
            await released.wait()

    tasks = [asyncio.create_task(request()) for _ in range(SLOTS + 1)]
    for _ in range(SLOTS):
        await held.acquire()
    assert door._queue.waiting == 1
    replicas[0] = 2
    async with asyncio.timeout(3 * LOOK_SECONDS):
        await held.acquire()
    released.set()
    await asyncio.gather(*tasks)


async def test_who_comes_finds_as_many_slots_as_there_are_replicas_by_now() -> None:
    replicas = [1]
    door = admission(replicas, Rules())
    slots = [door.admit(ENTRY, call()) for _ in range(SLOTS)]
    replicas[0] = 2
    slots += [door.admit(ENTRY, call()) for _ in range(SLOTS)]
    assert not any(slot.waits for slot in slots)
    slots.pop().leave()
    replicas[0] = 1
    assert door.admit(ENTRY, call()).waits


async def test_a_slot_is_one_of_the_engine_that_serves() -> None:
    engines = {name: EngineSpec(name=name, kind="vllm", urls=("http://127.0.0.1:9",)) for name in "ab"}
    targets = tuple(Target(engine=name, spec=ENTRY.spec) for name in engines)
    entry = replace(ENTRY, engine="a", targets=targets)
    door = Admission(Rules(each=1), Metrics({}), lambda _: 1)
    door.serve_from(Registry(engines=engines, models=(entry,)))
    first = door.admit(entry, call())
    assert first.allows("a") and first.allows("b")
    first.goes_to("b")
    second = door.admit(entry, call())
    assert second.allows("a") and not second.allows("b")
    assert not second.waits and door.admit(entry, call()).waits


async def test_slots_follow_a_new_configuration_at_once() -> None:
    door = admission([1], Rules())
    released = asyncio.Event()

    async def request() -> None:
        async with door.admit(ENTRY, call()):
            await released.wait()

    tasks = [asyncio.create_task(request()) for _ in range(SLOTS + 2)]
    await asyncio.sleep(0)
    assert door._queue.waiting == 2
    door.serve_from(Registry(engines=REGISTRY.engines, models=REGISTRY.models, limits={"gpu": SLOTS + 1}))
    assert door._queue.waiting == 1
    released.set()
    await asyncio.gather(*tasks)
    assert door._queue.waiting == 0
