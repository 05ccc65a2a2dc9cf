"""What operators ask and do, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

import backends
from backends.types import JsonObject
from proxy.registry.config import load_registry
from proxy.settings import Settings
from tests.engines.vllm_double import Fault, VllmDouble
from tests.support import serve_app

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
async def engine() -> AsyncIterator[VllmDouble]:
    async with VllmDouble("served") as double:
        yield double


@pytest.fixture
async def other() -> AsyncIterator[VllmDouble]:
    async with VllmDouble("served") as double:
        yield double


class File:
    """A configuration of one engine and one model on it."""

    def __init__(self, path: Path, *urls: str) -> None:
        self.path = path
        self.write(*urls)

    def write(self, *urls: str, more: str = "") -> None:
        """These are the engine's replicas."""
        quoted = ", ".join(f'"{url}"' for url in urls)
        self.path.write_text(
            f'[[engines]]\nname = "gpu"\nkind = "vllm"\nurls = [{quoted}]\n'
            f'[[models]]\nname = "m"\nengine = "gpu"\nserved_as = "served"\n{more}'
        )

    def change(self, old: str, new: str) -> None:
        """Write this in the place of that."""
        self.path.write_text(self.path.read_text().replace(old, new))

    def remove(self) -> None:
        """It is no more."""
        self.path.unlink()


@pytest.fixture
def file(tmp_path: Path, engine: VllmDouble, other: VllmDouble) -> File:
    return File(tmp_path / "switchboard.toml", engine.url, other.url)


@asynccontextmanager
async def opened(file: File, **settings: str) -> AsyncIterator[str]:
    """The door of this configuration."""
    registry = await asyncio.to_thread(load_registry, Settings(config=file.path))
    async with serve_app(registry, backends.create, config=file.path, **settings) as url:
        yield url


@pytest.fixture
async def door(file: File) -> AsyncIterator[str]:
    async with opened(file) as url:
        yield url


async def post(http: ClientSession, url: str, **headers: str) -> tuple[int, JsonObject]:
    async with http.post(url, headers=headers) as answer:
        told: JsonObject = await answer.json()
        return answer.status, told


async def listed(http: ClientSession, door: str, name: str) -> JsonObject:
    """The engine of this name, as it is listed."""
    async with http.get(f"{door}/admin/engines") as answer:
        assert answer.status == 200
        return next(each for each in (await answer.json())["engines"] if each["name"] == name)


async def metrics(http: ClientSession, door: str) -> str:
    async with http.get(f"{door}/metrics") as answer:
        return await answer.text()


async def test_engines_are_listed_with_their_replicas(door: str, http: ClientSession, engine: VllmDouble) -> None:
    gpu = await listed(http, door, "gpu")
    assert (gpu["kind"], gpu["models"], gpu["draining"]) == ("vllm", ["m"], False)
    replicas = gpu["replicas"]
    assert isinstance(replicas, list)
    assert [each["name"] for each in replicas if isinstance(each, dict)] == ["gpu#1", "gpu#2"]
    assert isinstance(replicas[0], dict)
    assert (replicas[0]["url"], replicas[0]["in_flight"], replicas[0]["draining"]) == (engine.url, 0, False)
    assert replicas[0]["health"] == {"state": "serving", "reason": "", "seconds": None, "next_trial_seconds": None}
    assert (await listed(http, door, "whisper"))["loaded"] == []


async def test_engines_tell_how_busy_they_are(door: str, http: ClientSession) -> None:
    async with asyncio.timeout(10):
        while True:
            replicas = (await listed(http, door, "gpu"))["replicas"]
            assert isinstance(replicas, list) and isinstance(replicas[0], dict)
            if (figures := replicas[0]["figures"]) is not None:
                break
            await asyncio.sleep(0.05)
    assert isinstance(figures, dict)
    assert (figures["waiting"], figures["running"]) == (0.0, 0.0)


async def test_a_replica_that_is_out_says_why(door: str, http: ClientSession, engine: VllmDouble) -> None:
    async with engine.refusing():
        for _ in range(2):
            async with http.post(f"{door}/v1/chat/completions", json=CHAT) as answer:
                assert answer.status == 200
        replicas = (await listed(http, door, "gpu"))["replicas"]
        assert isinstance(replicas, list) and isinstance(replicas[0], dict)
        health = replicas[0]["health"]
        assert isinstance(health, dict)
        assert (health["state"], health["reason"]) == ("ejected", "it accepts no connection")


async def test_a_drained_engine_gets_nothing_and_comes_back(door: str, http: ClientSession, engine: VllmDouble) -> None:
    drained = {"engine": "gpu", "replica": None, "draining": True, "in_flight": 0}
    assert await post(http, f"{door}/admin/engines/gpu/drain?wait=1") == (200, drained)
    async with http.post(f"{door}/v1/chat/completions", json=CHAT) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert "drained" in (await answer.json())["error"]["message"]
    assert (await listed(http, door, "gpu"))["draining"] is True
    assert 'switchboard_replica_draining{engine="gpu",replica="gpu#1"} 1.0' in await metrics(http, door)
    status, told = await post(http, f"{door}/admin/engines/gpu/undrain")
    assert (status, told["draining"]) == (200, False)
    async with http.post(f"{door}/v1/chat/completions", json=CHAT) as answer:
        assert answer.status == 200


async def test_a_drained_replica_ends_its_streams_and_gets_no_others(
    door: str, http: ClientSession, engine: VllmDouble, other: VllmDouble
) -> None:
    for double in (engine, other):
        double.fail(Fault(kind="slow", seconds=0.05, after=0))
    streams = [await http.post(f"{door}/v1/chat/completions", json={**CHAT, "stream": True}) for _ in range(2)]
    assert (engine.running, other.running) == (1, 1)
    url = f"{door}/admin/engines/gpu/drain?replica=gpu%231"
    status, told = await post(http, url)
    assert (status, told["in_flight"], told["draining"]) == (200, 1, True)
    waiting = asyncio.create_task(post(http, f"{url}&wait=30"))
    for _ in range(6):
        async with http.post(f"{door}/v1/chat/completions", json=CHAT) as answer:
            assert answer.status == 200
    assert (len(engine.requests), len(other.requests)) == (1, 7)
    for stream in streams:
        assert (await stream.read()).endswith(b"data: [DONE]\n\n")
    assert (await waiting)[1]["in_flight"] == 0


async def test_a_reload_tells_what_changed(
    door: str, http: ClientSession, file: File, engine: VllmDouble, other: VllmDouble
) -> None:
    assert (await post(http, f"{door}/admin/reload"))[1]["status"] == "unchanged"
    file.write(other.url, more='aliases = ["n"]\n[defaults]\ntext = "m"\n')
    status, told = await post(http, f"{door}/admin/reload")
    assert (status, told["status"]) == (200, "reloaded")
    urls = f"urls: {engine.url}, {other.url} -> {other.url}"
    assert told["summary"] == [f"engine gpu: {urls}", "model m: aliases: none -> n", "default text: added"]
    assert told["changes"] == {
        "engines": {"changed": {"gpu": [urls]}},
        "models": {"changed": {"m": ["aliases: none -> n"]}},
        "defaults": {"added": ["text"]},
    }
    assert told["needs_restart"] == ["SWITCHBOARD_CONFIG"]
    figures = await metrics(http, door)
    for outcome in ("reloaded", "unchanged"):
        assert f'switchboard_reloads_total{{outcome="{outcome}"}} 1.0' in figures
    async with http.post(f"{door}/v1/chat/completions", json={**CHAT, "model": "n"}) as answer:
        assert answer.status == 200
    assert (len(engine.requests), len(other.requests)) == (0, 1)
    gpu = await listed(http, door, "gpu")
    assert isinstance(gpu["replicas"], list)
    assert [each["name"] for each in gpu["replicas"] if isinstance(each, dict)] == ["gpu#2"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ('kind = "vlm"', "switchboard.toml:3: engines.0.kind: "),
        ("kind = ", "switchboard.toml: Invalid value (at line 3"),
        ('kind = "vllm"\nurl = "http://x"', "switchboard.toml:1: engines.0: give `url` or `urls`, not both"),
    ],
)
async def test_a_bad_file_changes_nothing(
    door: str, http: ClientSession, file: File, change: str, complaint: str
) -> None:
    file.change('kind = "vllm"', change)
    status, told = await post(http, f"{door}/admin/reload")
    assert status == 400
    assert str(told["error"]).startswith("The old configuration stays: ") and complaint in str(told["error"])
    async with http.post(f"{door}/v1/chat/completions", json=CHAT) as answer:
        assert answer.status == 200


async def test_a_file_that_is_gone_changes_nothing(door: str, http: ClientSession, file: File) -> None:
    file.remove()
    status, told = await post(http, f"{door}/admin/reload")
    assert status == 400
    assert "no such file" in str(told["error"])
    assert (await listed(http, door, "gpu"))["models"] == ["m"]


async def test_an_open_door_does_not_get_its_first_key_by_reloading(door: str, http: ClientSession, file: File) -> None:
    file.change("[[models]]", '[[keys]]\nname = "one"\nkey = "sk-1"\n[[models]]')
    status, told = await post(http, f"{door}/admin/reload")
    assert status == 400
    assert "restart" in str(told["error"])


async def test_draining_by_the_file(door: str, http: ClientSession, file: File) -> None:
    file.change('kind = "vllm"', 'kind = "vllm"\ndrain = true')
    assert (await post(http, f"{door}/admin/reload"))[1]["summary"] == ["engine gpu: drain: false -> true"]
    async with http.post(f"{door}/v1/chat/completions", json=CHAT) as answer:
        assert answer.status == 503
    file.change("drain = true\n", "")
    await post(http, f"{door}/admin/reload")
    async with http.post(f"{door}/v1/chat/completions", json=CHAT) as answer:
        assert answer.status == 200


async def test_what_was_drained_by_hand_stays_so_when_the_file_does_not_speak_of_it(
    door: str, http: ClientSession, file: File, engine: VllmDouble
) -> None:
    await post(http, f"{door}/admin/engines/gpu/drain")
    file.write(engine.url, "http://127.0.0.1:9")
    await post(http, f"{door}/admin/reload")
    gpu = await listed(http, door, "gpu")
    assert isinstance(gpu["replicas"], list)
    assert [each["draining"] for each in gpu["replicas"] if isinstance(each, dict)] == [True, True]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("engines/none/drain", 404, "There is no engine `none` (known: "),
        ("engines/gpu/drain?replica=gpu%239", 404, "no replica `gpu#9` (known: gpu#1, gpu#2)"),
        ("engines/whisper/drain?replica=x", 404, "it runs in this process"),
        ("engines/gpu/drain?wait=-1", 400, "Invalid `wait`"),
        ("engines/gpu/drain?wait=nan", 400, "Invalid `wait`"),
        ("engines/gpu/drain?waits=1", 400, "`waits` is no option of this path. Known: replica, wait."),
        ("engines/gpu/undrain?wait=1", 400, "`wait` is no option of this path. Known: replica."),
        ("engines/gpu/drain?wait=1&wait=2", 400, "`wait` was sent more than once"),
        ("reload?dry=1", 400, "It takes none."),
        ("nothing", 404, "There is no POST /admin/nothing here."),
    ],
)
async def test_what_is_not_there_is_refused(door: str, http: ClientSession, path: str, status: int, said: str) -> None:
    told = await post(http, f"{door}/admin/{path}")
    assert told[0] == status
    assert said in str(told[1]["error"])
    assert (await listed(http, door, "gpu"))["draining"] is False


async def test_bodies_are_refused(door: str, http: ClientSession) -> None:
    async with http.post(f"{door}/admin/engines/gpu/drain", json={"wait": 3}) as answer:
        assert answer.status == 400
    async with http.post(f"{door}/admin/engines/gpu/drain", data={"a": "b"}) as answer:
        assert answer.status == 415
    async with http.post(f"{door}/admin/engines/gpu/undrain", json={}) as answer:
        assert answer.status == 200


async def test_pages_of_other_sites_do_nothing_here(door: str, http: ClientSession) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        status, told = await post(http, f"{door}/admin/engines/gpu/drain", **headers)
        assert status == 403, told
    assert (await post(http, f"{door}/admin/engines/gpu/undrain", Origin=door))[0] == 200


async def test_operators_have_keys_of_their_own(file: File, http: ClientSession) -> None:
    url = "{}/admin/engines/gpu/undrain"
    async with opened(file, api_keys="user") as door:
        for headers in ({}, {"Authorization": "Bearer user"}):
            status, told = await post(http, url.format(door), **headers)
            assert (status, "SWITCHBOARD_ADMIN_KEYS" in str(told["error"])) == (403, True)
    async with opened(file, api_keys="user", admin_keys="boss") as door:
        for headers, expected in (
            ({}, 401),
            ({"Authorization": "Bearer user"}, 401),
            ({"Authorization": "Bearer boss"}, 200),
        ):
            assert (await post(http, url.format(door), **headers))[0] == expected
        async with http.post(
            f"{door}/v1/chat/completions", json=CHAT, headers={"Authorization": "Bearer boss"}
        ) as answer:
            assert answer.status == 401


async def test_who_waits_for_a_verdict_does_not_go_where_requests_are_kept_from_by_then(
    door: str, http: ClientSession, engine: VllmDouble, other: VllmDouble
) -> None:
    async with engine.refusing(), other.refusing():
        for _ in range(2):
            async with http.post(f"{door}/v1/chat/completions", json=CHAT) as answer:
                assert answer.status == 503
        asking = asyncio.create_task(http.post(f"{door}/v1/chat/completions", json=CHAT))
        await post(http, f"{door}/admin/engines/gpu/drain")
    async with await asking as answer:
        assert answer.status == 503
    assert not engine.requests and not other.requests
