"""The configuration changes under a running `switchboard serve`: nothing in flight is cut, and no request fails."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from backends.types import JsonObject
from tests.command import ROOT, Command, serving
from tests.engines.vllm_double import Fault, VllmDouble

STREAMS = 50
COUNT = 40
WHOLE = ", ".join(str(number) for number in range(1, COUNT + 1)) + "."
FIVE = "1, 2, 3, 4, 5."
NANO = ROOT / "backends" / "nano"


class File:
    """A configuration that is replaced whole, as careful editors do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, text: str) -> None:
        """It says this from now on."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "switchboard.toml")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@pytest.fixture
async def engines() -> AsyncIterator[list[VllmDouble]]:
    """Three engines."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(VllmDouble("served")) for _ in range(3)]


def engine(name: str, *doubles: VllmDouble) -> str:
    """A table of an engine."""
    urls = ", ".join(f'"{double.url}"' for double in doubles)
    return f'[[engines]]\nname = "{name}"\nkind = "vllm"\nurls = [{urls}]\n'


def model(name: str, **weights: float) -> str:
    """A table of a model on these engines."""
    shares = ", ".join(f'{{name = "{each}", weight = {weight}}}' for each, weight in weights.items())
    return f'[[models]]\nname = "{name}"\nserved_as = "served"\nengines = [{shares}]\n'


def asking(name: str, *, stream: bool = False, count: int = 5) -> JsonObject:
    message: JsonObject = {"role": "user", "content": f"Count to {count}."}
    return {"model": name, "messages": [message], "stream": stream}


def text_of(body: bytes) -> str:
    """What a stream said, which came to its end."""
    assert body.endswith(b"data: [DONE]\n\n"), body[-200:]
    events = [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: {")]
    assert not any("error" in event for event in events)
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])


@asynccontextmanager
async def running(**settings: str) -> AsyncIterator[Command]:
    """The door; its log is read to the end by someone else."""
    async with serving(SWITCHBOARD_DRAIN_SECONDS="5", **settings) as command:
        reading = asyncio.create_task(command.rest(within=None))
        try:
            yield command
        finally:
            command.signal(signal.SIGTERM)
            assert await asyncio.wait_for(reading, 60) == 0


async def until(fact: Callable[[], bool]) -> None:
    """Wait for a fact that nobody announces."""
    async with asyncio.timeout(20):
        while not fact():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def events(command: Command, name: str) -> list[JsonObject]:
    return [line for line in command.lines if line["event"] == name]


async def streams(http: aiohttp.ClientSession, url: str, name: str) -> list[aiohttp.ClientResponse]:
    """Fifty answers that have begun."""
    begun = [
        await http.post(f"{url}/v1/chat/completions", json=asking(name, stream=True, count=COUNT))
        for _ in range(STREAMS)
    ]
    for answer in begun:
        assert answer.status == 200
    return begun


async def post(http: aiohttp.ClientSession, url: str) -> tuple[int, JsonObject]:
    async with http.post(url) as answer:
        told: JsonObject = await answer.json()
        return answer.status, told


async def leaving(http: aiohttp.ClientSession, url: str) -> list[tuple[str, int]]:
    """Replicas that are configured no more, and how many requests each still has."""
    async with http.get(f"{url}/admin/engines") as answer:
        return [(each["name"], each["in_flight"]) for each in (await answer.json())["leaving"]]


async def test_fifty_streams_do_not_notice_that_their_engines_change(
    file: File, http: aiohttp.ClientSession, engines: list[VllmDouble]
) -> None:
    a, b, c = engines
    for double in (a, b):
        double.fail(*[Fault(kind="slow", seconds=0.04, after=0)] * STREAMS)
    file.write(engine("a", a) + engine("b", b) + model("m", a=1, b=1))
    async with running(SWITCHBOARD_CONFIG=str(file.path)) as command:
        begun = await streams(http, command.url, "m")
        on_a = len(a.requests)
        assert 0 < on_a < STREAMS and len(b.requests) == STREAMS - on_a
        b.fail()
        file.write(engine("b", b) + engine("c", c) + model("m", b=1, c=99))
        status, told = await post(http, f"{command.url}/admin/reload")
        assert (status, told["status"]) == (200, "reloaded")
        changes = told["changes"]
        assert isinstance(changes, dict)
        assert changes["engines"] == {"added": ["c"], "removed": ["a"]}
        assert await leaving(http, command.url) == [("a", on_a)]
        for _ in range(20):
            async with http.post(f"{command.url}/v1/chat/completions", json=asking("m")) as answer:
                assert answer.status == 200
        assert len(a.requests) == on_a
        assert len(c.requests) > 0
        assert {text_of(await answer.read()) for answer in begun} == {WHOLE}
        async with asyncio.timeout(10):
            while await leaving(http, command.url):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert not (a.aborts or b.aborts or c.aborts)


async def test_a_bad_file_leaves_everything_as_it_was(
    file: File, http: aiohttp.ClientSession, engines: list[VllmDouble]
) -> None:
    a, b, _ = engines
    a.fail(*[Fault(kind="slow", seconds=0.03, after=0)] * STREAMS)
    file.write(engine("a", a) + model("m", a=1))
    async with running(SWITCHBOARD_CONFIG=str(file.path)) as command:
        begun = await streams(http, command.url, "m")
        file.write(engine("b", b) + model("m", a=1))
        status, told = await post(http, f"{command.url}/admin/reload")
        assert status == 400
        assert "switchboard.toml:8: models.0.engines: there is no engine named 'a'" in str(told["error"])
        command.signal(signal.SIGHUP)
        await until(lambda: len(events(command, "configuration refused, the old one stays")) == 2)
        assert {text_of(await answer.read()) for answer in begun} == {WHOLE}
        async with http.post(f"{command.url}/v1/chat/completions", json=asking("m")) as answer:
            assert answer.status == 200
    assert not b.requests


async def test_twenty_reloads_under_traffic_fail_no_request(
    file: File, http: aiohttp.ClientSession, engines: list[VllmDouble]
) -> None:
    a, b, c = engines
    ways = [
        engine("a", a) + model("m", a=1),
        engine("a", a, b) + model("m", a=1),
        engine("b", b) + engine("c", c) + model("m", b=2, c=1),
        engine("a", c) + model("m", a=1),
    ]
    file.write(ways[0])
    async with running(SWITCHBOARD_CONFIG=str(file.path)) as command:
        done: list[str] = []
        ended = asyncio.Event()

        async def ask(number: int) -> None:
            while not ended.is_set():
                body = asking("m", stream=number % 2 == 0)
                async with http.post(f"{command.url}/v1/chat/completions", json=body) as answer:
                    assert answer.status == 200, await answer.text()
                    if body["stream"]:
                        assert text_of(await answer.read()) == FIVE
                    else:
                        assert (await answer.json())["choices"][0]["message"]["content"] == FIVE
                done.append("ok")

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(ask(number))
            for turn in range(1, 21):
                before = len(done)
                file.write(ways[turn % len(ways)])
                command.signal(signal.SIGHUP)
                await until(lambda: len(events(command, "configuration reloaded")) == turn)  # noqa: B023
                await until(lambda: len(done) >= before + 16)  # noqa: B023
            ended.set()
    assert len(done) >= 320
    assert not (a.aborts or b.aborts or c.aborts)
    assert min(len(double.requests) for double in engines) > 0


async def test_replicas_drained_in_turn_under_load_lose_nothing(
    file: File, http: aiohttp.ClientSession, engines: list[VllmDouble]
) -> None:
    a, b, _ = engines
    file.write(engine("gpu", a, b) + model("m", gpu=1))
    async with running(SWITCHBOARD_CONFIG=str(file.path)) as command:
        ended = asyncio.Event()
        done: list[str] = []

        async def ask() -> None:
            while not ended.is_set():
                body = asking("m", stream=True)
                async with http.post(f"{command.url}/v1/chat/completions", json=body) as answer:
                    assert answer.status == 200, await answer.text()
                    done.append(text_of(await answer.read()))

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(ask())
            for turn in range(20):
                drained = (a, b)[turn % 2]
                replica = f"{command.url}/admin/engines/gpu"
                number = turn % 2 + 1
                _, told = await post(http, f"{replica}/drain?replica=gpu%23{number}&wait=20")
                assert told["in_flight"] == 0
                seen, before = len(drained.requests), len(done)
                await until(lambda: len(done) >= before + 16)  # noqa: B023
                assert len(drained.requests) == seen
                await post(http, f"{replica}/undrain?replica=gpu%23{number}")
            ended.set()
    assert set(done) == {FIVE}
    assert not (a.aborts or b.aborts)


async def test_a_model_of_this_process_ends_its_answer_and_loads_anew(
    file: File, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    chat = f'[[models]]\nname = "chat"\nengine = "transformers"\nsource = "{NANO / "chat"}"\npreload = true\n'
    file.write(chat)
    async with running(SWITCHBOARD_CONFIG=str(file.path), SWITCHBOARD_DATA=str(tmp_path)) as command:
        await until(lambda: len(events(command, "model ready")) == 1)
        body = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}], "stream": True, "temperature": 0}
        async with http.post(f"{command.url}/v1/chat/completions", json=body) as answer:
            first = text_of(await answer.read())
        async with http.post(f"{command.url}/v1/chat/completions", json=body) as answer:
            await answer.content.readline()
            file.write(f'[[engines]]\nname = "transformers"\nkind = "transformers"\ndevice = "cpu"\n{chat}')
            command.signal(signal.SIGHUP)
            assert first.endswith(text_of(await answer.read()))
        await until(lambda: len(events(command, "model ready")) == 2)
        assert [line["reason"] for line in events(command, "model unloaded")] == ["reloading"]
        async with http.post(f"{command.url}/v1/chat/completions", json=body) as answer:
            assert text_of(await answer.read()) == first
        file.write(engine("far").replace("urls = []", 'url = "http://127.0.0.1:9"'))
        command.signal(signal.SIGHUP)
        await until(lambda: len(events(command, "model unloaded")) == 2)


async def test_a_terminal_that_is_closed_ends_the_door(file: File, engines: list[VllmDouble]) -> None:
    file.write(engine("a", engines[0]) + model("m", a=1))
    ours, theirs = pty.openpty()
    code = (
        "import os, sys; os.login_tty(0); from proxy.__main__ import main; sys.argv = ['switchboard', 'serve']; main()"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        cwd=ROOT,
        env={**os.environ, "SWITCHBOARD_CONFIG": str(file.path), "SWITCHBOARD_LISTEN": "127.0.0.1:0"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    async with asyncio.timeout(30):
        while b'"listening"' not in seen:
            seen += await asyncio.to_thread(os.read, ours, 4096)
        process.send_signal(signal.SIGHUP)
        while b'"configuration reloaded"' not in seen:
            seen += await asyncio.to_thread(os.read, ours, 4096)
        os.close(ours)
        # Nobody reads what it has to say about that.
        await process.wait()
