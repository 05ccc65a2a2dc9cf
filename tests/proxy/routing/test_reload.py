"""The configuration is read anew: what is exchanged, and what is not."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from aiohttp import ClientResponse, ClientSession
from aiohttp.web_protocol import RequestHandler

import backends
from backends.base import Backend, EngineSpec, ModelSpec
from backends.types import Delta, Event, Finish, JsonObject, Request
from proxy.lifecycle.engines import Create
from proxy.registry.config import load_registry
from proxy.routing.replica import Replica
from proxy.settings import Settings
from tests.engines.vllm_double import VllmDouble
from tests.proxy.lifecycle.engine_rig import FAKE
from tests.support import ScriptedBackend, serve_app

FILE = '[[engines]]\nname = "e"\n{engine}\n[[models]]\nname = "m"\nengine = "e"\n{model}\n'
HERE = 'kind = "transformers"'
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Count to 3."}]}


@dataclass
class Named(ScriptedBackend):
    """Says the compute type that it was made with."""

    says: str = ""
    closed: bool = False

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        assert not self.closed
        yield Delta(0, self.says)
        yield Finish(0, "stop")

    async def close(self) -> None:
        self.closed = True


def create(spec: EngineSpec) -> Backend:
    """Engines of this process say how they were made; others are real."""
    return backends.create(spec) if spec.urls else Named(lambda _: (), says=spec.compute_type)


@dataclass
class Door:
    """A door and its file."""

    file: Path
    http: ClientSession
    url: str = ""

    def write(self, engine: str, model: str = "", more: str = "") -> None:
        self.file.write_text(FILE.format(engine=engine, model=model) + more)

    async def reload(self, status: int = 200) -> JsonObject:
        async with self.http.post(f"{self.url}/admin/reload") as answer:
            assert answer.status == status, await answer.text()
            told: JsonObject = await answer.json()
            return told

    async def says(self, key: str = "", status: int = 200) -> str:
        """What the model answers."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.http.post(f"{self.url}/v1/chat/completions", json=CHAT, headers=headers) as answer:
            assert answer.status == status, await answer.text()
            return str((await answer.json())["choices"][0]["message"]["content"]) if status == 200 else ""

    @asynccontextmanager
    async def open(self, create: Create = create, **settings: object) -> AsyncIterator[None]:
        registry = await asyncio.to_thread(load_registry, Settings(config=self.file, data=self.file.parent))
        async with serve_app(registry, create, config=self.file, data=self.file.parent, **settings) as self.url:
            yield


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with ClientSession() as http:
        yield Door(tmp_path / "switchboard.toml", http)


async def test_an_engine_of_this_process_computes_as_the_file_says_by_now(door: Door) -> None:
    door.write(f'{HERE}\ncompute_type = "float32"')
    async with door.open():
        assert await door.says() == "float32"
        door.write(f'{HERE}\ncompute_type = "float16"')
        assert (await door.reload())["summary"] == ["engine e: compute_type: float32 -> float16"]
        assert await door.says() == "float16"


async def test_an_engine_may_become_one_elsewhere_and_come_back(door: Door) -> None:
    door.write(f'{HERE}\ncompute_type = "float32"')
    async with VllmDouble("m") as engine, door.open():
        for _ in range(2):
            assert await door.says() == "float32"
            door.write(f'kind = "vllm"\nurl = "{engine.url}"')
            await door.reload()
            assert await door.says() == "1, 2, 3."
            door.write(f'{HERE}\ncompute_type = "float32"')
            await door.reload()


async def test_reloads_come_one_after_the_other_and_the_last_one_holds(door: Door) -> None:
    door.write(f'{HERE}\ncompute_type = "0"')
    async with door.open():
        await door.says()
        reloads = []
        for number in range(1, 11):
            door.write(f'{HERE}\ncompute_type = "{number}"')
            reloads.append(asyncio.create_task(door.reload()))
            await asyncio.sleep(0.001)
        told = await asyncio.gather(*reloads)
        assert {each["status"] for each in told} <= {"reloaded", "unchanged"}
        assert await door.says() == "10"


async def test_whoever_leaves_while_it_is_read_leaves_it_whole(door: Door) -> None:
    door.write(f'{HERE}\ncompute_type = "a"')
    async with door.open():
        for number in range(20):
            door.write(f'{HERE}\ncompute_type = "{number}"')
            reload = asyncio.create_task(door.reload())
            await asyncio.sleep(number / 2000)
            reload.cancel()
            await asyncio.gather(reload, return_exceptions=True)
        await door.reload()
        assert await door.says() == "19"


async def test_keys_are_exchanged(door: Door) -> None:
    def keyed(key: str) -> None:
        door.write(HERE, more=f'[[keys]]\nname = "one"\nkey = "{key}"\n')

    keyed("sk-old")
    async with door.open(admin_keys="boss"):
        await door.says("sk-old")
        keyed("sk-new")
        async with door.http.post(f"{door.url}/admin/reload", headers={"Authorization": "Bearer boss"}) as answer:
            assert await answer.json() == {
                "status": "reloaded",
                "summary": ["key one: key: (not shown) -> (not shown)"],
                "changes": {"keys": {"changed": {"one": ["key: (not shown) -> (not shown)"]}}},
                "needs_restart": ["SWITCHBOARD_ADMIN_KEYS", "SWITCHBOARD_CONFIG", "SWITCHBOARD_DATA"],
            }
        await door.says("sk-new")
        await door.says("sk-old", status=401)
        door.write(HERE)
        async with door.http.post(f"{door.url}/admin/reload", headers={"Authorization": "Bearer boss"}) as answer:
            assert answer.status == 400
        await door.says("sk-new")


async def test_registered_models_stay(door: Door) -> None:
    door.write(HERE)
    async with door.open():
        body = {"model_id": "owner/more", "name": "more", "model_type": "text-generation"}
        async with door.http.post(f"{door.url}/api/huggingface/models", json=body) as answer:
            assert answer.status == 200
        door.write(HERE, 'aliases = ["other"]')
        await door.reload()
        async with door.http.get(f"{door.url}/v1/models") as answer:
            assert "owner/more" in {model["id"] for model in (await answer.json())["data"]}


async def test_a_model_that_is_no_more_is_not_found_and_leaves_the_memory(door: Door) -> None:
    door.write(HERE, "preload = true")
    async with door.open():
        await door.says()
        door.file.write_text(f'[[engines]]\nname = "e"\n{HERE}\n')
        assert (await door.reload())["summary"] == ["model m: removed"]
        await door.says(status=404)
        async with asyncio.timeout(10):
            while await _loaded(door):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def _loaded(door: Door) -> list[str]:
    async with door.http.get(f"{door.url}/admin/engines") as answer:
        here = next(engine for engine in (await answer.json())["engines"] if engine["name"] == "e")
        return [place["model"] for place in here["loaded"] if place["state"] == "loaded"]


async def test_a_url_that_nothing_can_be_made_of_is_refused_whole(door: Door) -> None:
    door.write(HERE)

    def fussy(spec: EngineSpec) -> Backend:
        if spec.urls:
            raise ValueError(f"{spec.urls[0]!r} is not an http(s) base URL")
        return create(spec)

    async with door.open(fussy):
        door.write('kind = "vllm"\nurl = "http://127.0.0.1:9"')
        assert "is not an http(s) base URL" in str((await door.reload(status=400))["error"])
        await door.says()


def started(*options: str) -> str:
    """An engine that is started here."""
    command = [sys.executable, FAKE, "--port", "{port}", *options]
    return f'kind = "vllm"\n[engines.launch]\nhow = "process"\ncommand = {json.dumps(command)}\n'


async def tokens(answer: ClientResponse) -> tuple[set[str], str]:
    """Who gave a stream, and what it said; it came to its end."""
    body = await answer.read()
    assert body.endswith(b"data: [DONE]\n\n"), body
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    said = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    return {event["id"] for event in events}, said


async def test_an_engine_that_is_started_here_begins_anew_after_its_streams(door: Door) -> None:
    door.write(started("--pause", "0.05"), 'served_as = "fake"')
    body = {**CHAT, "stream": True, "max_tokens": 20}
    whole = "".join(f"{number} " for number in range(20))
    async with door.open():
        url = f"{door.url}/v1/chat/completions"
        streams = [await door.http.post(url, json=body) for _ in range(5)]
        door.write(started("--pause", "0.01"), 'served_as = "fake"')
        assert (await door.reload())["summary"] == ["engine e: launch.by.command: (not shown) -> (not shown)"]
        late = [asyncio.create_task(door.http.post(url, json=body)) for _ in range(5)]
        old = [await tokens(stream) for stream in streams]
        new = [await tokens(await each) for each in late]
        assert {said for _, said in (*old, *new)} == {whole}
        before, after = set.union(*(by for by, _ in old)), set.union(*(by for by, _ in new))
        assert len(before) == len(after) == 1 and before != after


async def test_an_engine_that_is_started_here_and_is_no_more_ends_its_streams_and_then_itself(door: Door) -> None:
    door.write(started("--pause", "0.05"), 'served_as = "fake"')
    async with door.open():
        body = {**CHAT, "stream": True, "max_tokens": 20}
        stream = await door.http.post(f"{door.url}/v1/chat/completions", json=body)
        door.write(HERE)
        assert "give the new one another name" in str((await door.reload(status=400))["error"])
        door.file.write_text(FILE.replace('"e"', '"f"').format(engine=HERE, model=""))
        await door.reload()
        (name,), _ = await tokens(stream)
        process = int(name.removeprefix("pid-"))
        async with asyncio.timeout(10):
            while psutil.pid_exists(process):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await door.says()


async def test_many_reloads_leave_nothing_behind(door: Door) -> None:
    async with VllmDouble("m") as one, VllmDouble("m") as other:
        door.write(f'kind = "vllm"\nurl = "{one.url}"')
        async with door.open():
            before, there = _tasks(), _replicas()
            for turn in range(30):
                assert await door.says() == "1, 2, 3."
                door.write(f'kind = "vllm"\nurl = "{(other, one)[turn % 2].url}"')
                await door.reload()
            assert await door.says() == "1, 2, 3."
            async with asyncio.timeout(20):
                while _replicas() > there or _tasks() > before:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


def _tasks() -> int:
    """Those of connections come and go with their clients."""
    return sum(RequestHandler.start.__qualname__ not in repr(task) for task in asyncio.all_tasks())


def _replicas() -> int:
    gc.collect()
    # Asked for its class, an object of a library may warn that it is deprecated.
    return sum(type(each) is Replica for each in gc.get_objects())
