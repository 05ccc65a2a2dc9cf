"""Two proxies on one PostgreSQL database: who listens at one hears what happens at the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from proxy.events.values import LoadFailed, LoadStarted
from proxy.keys import CAPTIONER, EVENTS
from proxy.storage import notices
from tests.postgres import Cluster
from tests.proxy.contracts.models.socket_client import Client, Message, World, world
from tests.proxy.contracts.models.test_captions_limits import REGISTRY, SPOKEN, model, started

STARTED = LoadStarted(model_id="m", model_type="asr")
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
def url(postgres: Cluster) -> str:
    return postgres.create()


@pytest.fixture
async def doors(url: str, tmp_path: Path) -> AsyncIterator[tuple[World, World]]:
    """Both doors, which hear each other."""
    async with (
        world(REGISTRY, model().create, database_url=url, data=tmp_path / "1") as first,
        world(REGISTRY, model().create, database_url=url, data=tmp_path / "2") as second,
    ):
        await acquainted(first, second)
        await acquainted(second, first)
        yield first, second


async def acquainted(one: World, other: World) -> None:
    """Wait until the other hears the one."""
    with other.app[EVENTS].listen(None) as listener:
        async with asyncio.timeout(20):
            while True:
                one.app[EVENTS].publish(STARTED)
                try:
                    async with asyncio.timeout(0.2):
                        await listener.next()
                    break
                except TimeoutError:
                    continue
            # Nothing of this is still on its way when the test begins.
            await asyncio.sleep(0.3)


async def rest(client: Client) -> list[str]:
    """What else is told: whatever there is comes before the answer to a heartbeat."""
    await asyncio.sleep(0.2)
    await client.say("session.heartbeat", id="rest")
    heard: list[Message] = []
    while (message := await client.ws.receive_json())["corr"] != "rest":
        heard.append(message)
    return [message["t"] for message in heard if message["t"] != "session.heartbeat"]


async def test_events_are_told_at_both_and_once(doors: tuple[World, World]) -> None:
    first, second = doors
    async with first.greeted() as here, second.greeted() as there:
        first.app[EVENTS].publish(STARTED)
        large = LoadFailed(model_id="m", error_code="LICENSE_ERROR", error_message="é" * 20_000)
        second.app[EVENTS].publish(large)
        for client in (here, there):
            told = {message["t"]: message for message in [await client.next() for _ in range(2)]}
            assert told["model.load.started"]["data"] == {"model_id": "m", "model_type": "asr"}
            assert told["model.load.failed"]["data"]["error_message"] == "é" * 20_000
            assert await rest(client) == []
        at = [
            message["t_wall"]
            for client in (here, there)
            for message in client.heard
            if message["t"].endswith("started")
        ]
        assert at[0] == at[1]  # when it happened, and not when it was heard of


async def test_a_session_is_one_at_both(doors: tuple[World, World]) -> None:
    first, second = doors
    sid = await first.session()
    async with first.greeted(sid) as here, second.greeted(sid) as there, second.greeted() as stranger:
        change = {"asr": {"parameters": {"beam_size": 2}}}
        path = f"/api/sessions/{sid}"
        async with second.http.put(
            f"{second.url}{path}/models/config", json=change, headers={"X-Request-Id": "put-7"}
        ) as answer:
            assert answer.status == 200
        for client in (here, there):
            updated = await client.next()
            assert (updated["t"], updated["corr"]) == ("session.config.updated", "put-7")
            assert updated["data"]["config"]["asr"]["parameters"]["beam_size"] == 2
        await started(first, here)
        assert (await there.next())["t"] == "asr.started"
        await here.ws.send_bytes(SPOKEN)
        assert (await there.until("asr.final"))["data"]["text"] == "so"
        # Deleted where its stream does not run, it ends there all the same, in the same order.
        async with second.http.delete(f"{second.url}{path}") as answer:
            assert answer.status == 200
        assert [(await here.until(kind))["data"]["reason"] for kind in ("asr.stopped", "session.closed")] == [
            "closed",
            "deleted",
        ]
        assert (await there.until("session.closed"))["data"] == {"reason": "deleted"}
        assert await here.closed() == await there.closed() == 4410
        assert set(await rest(stranger)) <= {"model.load.started", "model.load.completed"}
    assert first.app[CAPTIONER].streams == 0


async def test_to_resume_at_another_proxy_is_a_gap_and_at_ones_own_none(doors: tuple[World, World]) -> None:
    first, second = doors
    async with first.greeted() as client:
        second.app[EVENTS].publish(STARTED)
        read = (await client.next())["seq"]
    second.app[EVENTS].publish(STARTED)
    with first.app[EVENTS].listen(None) as listener:
        first.app[EVENTS].publish(STARTED)
        await listener.next()
    async with first.open() as client:
        resumed = (await client.hello(read))["data"]["resume"]
        assert not resumed["gap"] and resumed["replayed"] in (1, 2)  # what is told elsewhere may still be on its way
    async with second.open() as client:
        assert (await client.hello(read))["data"]["resume"] == {"requested": read, "replayed": 0, "gap": True}


async def test_who_listens_is_told_when_others_went_unheard(
    doors: tuple[World, World], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "FIRST_PAUSE", 0.2)
    first, second = doors
    async with first.greeted() as here, second.greeted() as there:
        connection = await asyncpg.connect(url)
        await connection.execute(END)
        await connection.close()
        for client in (here, there):
            assert (await client.next())["t"] == "events.missed"
        first.app[EVENTS].publish(STARTED)
        assert (await there.until("model.load.started"))["data"]["model_id"] == "m"


async def test_without_the_database_each_tells_its_own() -> None:
    async with world(database_url="postgresql://nobody@127.0.0.1:9/none") as door, door.greeted() as client:
        for _ in range(3):
            door.app[EVENTS].publish(STARTED)
            assert (await client.next())["t"] == "model.load.started"
