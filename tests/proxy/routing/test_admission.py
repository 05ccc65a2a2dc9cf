"""Requests before a full engine, at the real door: who waits, who is told to come again, and that nobody's leaving costs a slot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from statistics import median

import pytest
from aiohttp import ClientResponse, ClientSession

from backends.base import EngineSpec, Health, ModelSpec, Report
from backends.types import Chat, Delta, Event, Finish, Request
from proxy.app import build_app
from proxy.caller import ApiKey, Caller, Priority, digest
from proxy.http.auth import PRIORITY
from proxy.keys import DISPATCHER, METRICS, TRAFFIC
from proxy.registry.models import ModelEntry, Registry
from proxy.serve import make_runner
from proxy.settings import Settings
from tests.support import serve_running

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@dataclass
class Held:
    """An engine whose answers wait to be let go, in the order in which they began."""

    begun: list[str] = field(default_factory=list)
    ended: int = 0
    most: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _gates: list[asyncio.Event] = field(default_factory=list)

    def create(self, _: EngineSpec) -> Held:
        return self

    async def load(self, model: ModelSpec, report: Report) -> None:
        """At once."""

    async def unload(self, model: ModelSpec) -> None:
        """At once."""

    async def health(self) -> Health:
        return Health(ok=True)

    async def close(self) -> None:
        """Nothing to give back."""

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        gate = asyncio.Event()
        self._gates.append(gate)
        assert isinstance(request, Chat)
        self.begun.append(str(request.messages[-1]["content"]))
        self.most = max(self.most, len(self.begun) - self.ended)
        await self._tell()
        try:
            yield Delta(index=0, text="said")
            await gate.wait()
            yield Finish(index=0, reason="stop")
        finally:
            self.ended += 1
            await self._tell()

    def let_go(self, count: int = 1) -> None:
        """The answers that began first, of those that wait, may end."""
        for gate in [gate for gate in self._gates if not gate.is_set()][:count]:
            gate.set()

    async def until(self, fact: Callable[[], bool]) -> None:
        async with asyncio.timeout(5), self.changed:
            await self.changed.wait_for(fact)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


@dataclass
class World:
    """A door before a held engine, and its clients."""

    engine: Held
    http: ClientSession
    url: str
    settings: Settings
    text: Callable[[], str]
    cut: Callable[[], object]

    def ask(self, text: str = "hello", *, key: str = "", **headers: str) -> asyncio.Task[ClientResponse]:
        """A question on its way."""
        if key:
            headers["Authorization"] = f"Bearer {key}"
        body = {**CHAT, "messages": [{"role": "user", "content": text}]}
        return asyncio.create_task(self._ask(body, headers))

    async def _ask(self, body: object, headers: dict[str, str]) -> ClientResponse:
        async with self.http.post(f"{self.url}/v1/chat/completions", json=body, headers=headers) as answer:
            await answer.read()
            return answer

    async def waiting(self, count: int) -> None:
        """Return when that many wait."""
        async with asyncio.timeout(5):
            figure = f'switchboard_waiting{{engine="gpu",model="m"}} {count}.0'
            while figure not in self.text():  # noqa: ASYNC110 - a figure that announces nothing
                await asyncio.sleep(0.001)


@asynccontextmanager
async def door(limits: int = 1, registry: Registry | None = None, **settings: object) -> AsyncIterator[World]:
    engine = Held()
    registry = registry or one_engine(limits)
    app = build_app(Settings.model_validate(settings), registry, engine.create)
    async with serve_running(app, make_runner(app)) as url, ClientSession() as http:
        world = World(engine, http, url, Settings(), lambda: app[METRICS].render().decode(), app[TRAFFIC].cut)
        yield world
        engine.let_go(1000)
        in_flight = app[TRAFFIC].in_flight
        async with asyncio.timeout(5):
            while in_flight.total():  # noqa: ASYNC110 - a count that announces nothing
                await asyncio.sleep(0.001)
        assert not any(pool.in_flight for pool in app[DISPATCHER]._admission._lines.pools), "a slot was lost"


def one_engine(limits: int, keys: tuple[ApiKey, ...] = (), **fields: int) -> Registry:
    """A model on one engine. fields: of the model."""
    engine = EngineSpec(name="gpu", kind="tgi", urls=("http://127.0.0.1:9",))
    entry = ModelEntry(name="m", engine="gpu", spec=ModelSpec(source="m"), task="text")
    return Registry(
        engines={"gpu": engine},
        models=(replace(entry, **fields),),  # type: ignore[arg-type]
        limits={"gpu": limits},
        keys={key.caller.key: key for key in keys},
    )


def api_key(caller: Caller) -> ApiKey:
    return ApiKey(caller, digest(f"key-{caller.key}"))


async def test_who_finds_the_engine_full_waits_and_starts_when_another_ends() -> None:
    async with door(limits=2) as world:
        asked = [world.ask(str(number)) for number in range(4)]
        await world.waiting(2)
        assert len(world.engine.begun) == 2
        world.engine.let_go(4)
        await world.engine.until(lambda: len(world.engine.begun) == 4)
        world.engine.let_go(4)
        assert [answer.status for answer in await asyncio.gather(*asked)] == [200] * 4
        assert world.engine.most == 2
        figures = world.text()
        assert 'switchboard_queue_seconds_count{engine="gpu",model="m"} 2.0' in figures
        assert 'switchboard_slots{engine="gpu"} 2.0' in figures
        assert 'switchboard_waiting{engine="gpu",model="m"} 0.0' in figures


async def test_more_than_may_wait_are_told_at_once_when_to_come_again() -> None:
    async with door(limits=1, max_queued=1) as world:
        asked = [world.ask("first")]
        await world.engine.until(lambda: len(world.engine.begun) == 1)
        asked.append(world.ask("second"))
        await world.waiting(1)
        refused = await world.ask("third")
        assert refused.status == 503
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        error = (await refused.json())["error"]
        assert error["code"] == "service_unavailable" and "`m` serves as many" in error["message"]
        assert 'switchboard_shed_total{engine="gpu",model="m",reason="full"} 1.0' in world.text()
        world.engine.let_go()
        await world.engine.until(lambda: len(world.engine.begun) == 2)
        world.engine.let_go()
        assert [answer.status for answer in await asyncio.gather(*asked)] == [200, 200]


async def test_who_is_sent_away_knows_it_within_fifty_milliseconds() -> None:
    async with door(limits=1, max_queued=1) as world:
        asked = [world.ask("first")]
        await world.engine.until(lambda: len(world.engine.begun) == 1)
        asked.append(world.ask("second"))
        await world.waiting(1)
        seconds = []
        for _ in range(21):
            began = time.monotonic()
            assert (await world.ask()).status == 503
            seconds.append(time.monotonic() - began)
        # The median: others may be at work on the machine that this runs on.
        assert median(seconds) < 0.05
        world.engine.let_go()
        await world.engine.until(lambda: len(world.engine.begun) == 2)
        world.engine.let_go()
        await asyncio.gather(*asked)


async def test_nobody_waits_longer_than_said() -> None:
    async with door(limits=1, queue_seconds=0.02) as world:
        first = world.ask("first")
        await world.engine.until(lambda: len(world.engine.begun) == 1)
        late = await world.ask("late")
        assert late.status == 503
        assert "had no room for 0.02 seconds" in (await late.json())["error"]["message"]
        world.engine.let_go()
        assert (await first).status == 200
        assert world.engine.begun == ["first"]


async def test_who_leaves_while_waiting_leaves_no_trace() -> None:
    async with door(limits=1) as world:
        first = world.ask("first")
        await world.engine.until(lambda: len(world.engine.begun) == 1)
        leaving = world.ask("leaving")
        await world.waiting(1)
        leaving.cancel()
        await world.waiting(0)
        staying = world.ask("staying")
        await world.waiting(1)
        world.engine.let_go()
        await world.engine.until(lambda: len(world.engine.begun) == 2)
        world.engine.let_go()
        assert [(await first).status, (await staying).status] == [200, 200]
        assert world.engine.begun == ["first", "staying"]


async def test_a_slot_is_held_to_the_end_of_the_stream_and_free_when_its_client_leaves() -> None:
    async with door(limits=1) as world:
        body = {**CHAT, "stream": True}
        async with world.http.post(f"{world.url}/v1/chat/completions", json=body) as stream:
            assert b"data:" in await stream.content.readline()
            waiting = world.ask("next")
            await world.waiting(1)
            stream.close()
        await world.engine.until(lambda: world.engine.begun == ["hello", "next"])
        world.engine.let_go(2)
        assert (await waiting).status == 200


async def test_the_urgent_go_first() -> None:
    async with door(limits=1, max_queued=3) as world:
        asked = [world.ask("first")]
        await world.engine.until(lambda: len(world.engine.begun) == 1)
        for count, (text, priority) in enumerate((("low", "low"), ("normal", ""), ("high", "high")), 1):
            asked.append(world.ask(text, **({PRIORITY: priority} if priority else {})))
            await world.waiting(count)
        for count in range(2, 5):
            world.engine.let_go()
            await world.engine.until(lambda count=count: len(world.engine.begun) == count)  # type: ignore[misc]
        assert world.engine.begun == ["first", "high", "normal", "low"]
        world.engine.let_go()
        assert {answer.status for answer in await asyncio.gather(*asked)} == {200}


async def test_a_key_that_crowds_makes_room_and_is_told_so() -> None:
    keys = tuple(api_key(Caller(name, highest=Priority.NORMAL)) for name in ("greedy", "modest"))
    async with door(registry=one_engine(1, keys), max_queued=2) as world:
        asked = [world.ask("first", key="key-greedy")]
        await world.engine.until(lambda: len(world.engine.begun) == 1)
        asked.append(world.ask("second", key="key-greedy"))
        await world.waiting(1)
        crowding = world.ask("third", key="key-greedy")
        await world.waiting(2)
        modest = world.ask("modest", key="key-modest")
        refused = await crowding
        assert refused.status == 429
        error = (await refused.json())["error"]
        assert error["type"] == "rate_limit_error" and "more requests waiting than others" in error["message"]
        assert "Retry-After" in refused.headers
        for count in (2, 3):
            world.engine.let_go()
            await world.engine.until(lambda count=count: len(world.engine.begun) == count)  # type: ignore[misc]
        world.engine.let_go()
        assert {answer.status for answer in await asyncio.gather(*asked, modest)} == {200}


async def test_a_key_has_as_many_requests_at_once_as_it_may() -> None:
    async with door(registry=one_engine(5, (api_key(Caller("narrow", most=1)),))) as world:
        first = world.ask("first", key="key-narrow")
        await world.engine.until(lambda: len(world.engine.begun) == 1)
        refused = await world.ask("second", key="key-narrow")
        assert refused.status == 429
        assert "has 1 requests at once" in (await refused.json())["error"]["message"]
        world.engine.let_go()
        assert (await first).status == 200


async def test_a_model_has_limits_of_its_own() -> None:
    async with door(registry=one_engine(5, max_in_flight=1, max_queued=0)) as world:
        first = world.ask("first")
        await world.engine.until(lambda: len(world.engine.begun) == 1)
        assert (await world.ask("second")).status == 503
        world.engine.let_go()
        assert (await first).status == 200


async def test_bodies_that_wait_take_no_more_memory_than_they_may() -> None:
    async with door(limits=1, max_queued_mb=0.002) as world:
        first = world.ask("first")
        await world.engine.until(lambda: len(world.engine.begun) == 1)
        assert (await world.ask("x" * 3000)).status == 503
        small = world.ask("small")
        await world.waiting(1)
        world.engine.let_go()
        await world.engine.until(lambda: len(world.engine.begun) == 2)
        world.engine.let_go()
        assert [(await first).status, (await small).status] == [200, 200]


async def test_those_who_still_wait_when_the_server_stops_are_told() -> None:
    async with door(limits=1) as world:
        asked = [world.ask("first")]
        await world.engine.until(lambda: len(world.engine.begun) == 1)
        asked.append(world.ask("second"))
        await world.waiting(1)
        await world.cut()  # type: ignore[misc]
        assert [answer.status for answer in await asyncio.gather(*asked)] == [503, 503]
        assert world.engine.begun == ["first"]


@pytest.mark.parametrize(("setting", "begun"), [(None, 3), (0, 3), (2, 2)])
async def test_what_the_configuration_does_not_say_the_settings_do(setting: int | None, begun: int) -> None:
    registry = replace(one_engine(0), limits={})
    async with door(registry=registry, max_in_flight=setting) as world:
        asked = [world.ask(str(number)) for number in range(3)]
        await world.engine.until(lambda: len(world.engine.begun) == begun)
        if begun < 3:
            await world.waiting(3 - begun)
        world.engine.let_go(3)
        await world.engine.until(lambda: len(world.engine.begun) == 3)
        world.engine.let_go(3)
        assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
