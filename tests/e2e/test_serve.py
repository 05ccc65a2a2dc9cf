"""`switchboard serve`: it starts, says so, logs without secrets, refuses what is wrong, and leaves gracefully."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from backends.inprocess.cuda import device_count
from tests.command import serving, start
from tests.engines.vllm_double import Fault, VllmDouble

SECRET = "the-owl-flies-at-midnight"
ASK = {"model": "alias", "messages": [{"role": "user", "content": SECRET}], "max_tokens": 10}


@pytest.fixture
async def engine() -> AsyncIterator[VllmDouble]:
    async with VllmDouble() as double:
        yield double


@pytest.fixture
def config(engine: VllmDouble, tmp_path: Path) -> str:
    path = tmp_path / "switchboard.toml"
    path.write_text(
        f'[[engines]]\nname = "e"\nkind = "vllm"\nurl = "{engine.url}/v1"\nkey = "engine-{SECRET}"\n'
        f'[[models]]\nname = "m"\nengine = "e"\nserved_as = "{engine.model}"\naliases = ["alias"]\n'
    )
    return str(path)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_one_log_line_a_request_without_prompts_or_keys(config: str, http: aiohttp.ClientSession) -> None:
    headers = {"Authorization": f"Bearer {SECRET}", "X-Request-Id": "job-7"}
    async with serving(SWITCHBOARD_CONFIG=config, SWITCHBOARD_API_KEYS=SECRET) as command:
        async with http.post(f"{command.url}/v1/chat/completions", json=ASK, headers=headers) as answer:
            assert answer.status == 200
        line = await command.until("request")
        async with http.get(f"{command.url}/metrics", headers=headers) as answer:
            metrics = await answer.text()
        command.signal(signal.SIGTERM)
        assert await command.rest() == 0
    assert line["id"] == "job-7"
    assert (line["contract"], line["model"], line["engine"], line["status"]) == ("openai", "m", "e", 200)
    assert isinstance(line["first_byte_ms"], float) and isinstance(line["total_ms"], float)
    assert 0 < line["first_byte_ms"] <= line["total_ms"]
    assert isinstance(line["prompt_tokens"], int) and isinstance(line["completion_tokens"], int)
    assert SECRET not in json.dumps(command.lines)
    assert 'switchboard_requests_total{contract="openai",engine="e",model="m",status="200"} 1.0' in metrics
    assert (
        f'switchboard_tokens_total{{engine="e",kind="completion",model="m"}} {line["completion_tokens"]}.0' in metrics
    )
    assert 'switchboard_first_byte_seconds_count{engine="e",model="m"} 1.0' in metrics
    assert 'switchboard_in_flight{engine="e",model="m"} 0.0' in metrics


async def test_sigterm_lets_streams_finish_and_takes_nothing_new(
    config: str, engine: VllmDouble, http: aiohttp.ClientSession
) -> None:
    engine.fail(Fault(kind="slow", seconds=0.1, after=0))
    async with serving(SWITCHBOARD_CONFIG=config) as command:
        async with http.post(f"{command.url}/v1/chat/completions", json={**ASK, "stream": True}) as stream:
            await stream.content.readline()
            command.signal(signal.SIGTERM)
            await command.until("draining")
            async with http.get(f"{command.url}/ready") as answer:
                assert (answer.status, await answer.json()) == (503, {"status": "draining"})
            async with http.get(f"{command.url}/health") as answer:
                assert answer.status == 200
            async with http.post(f"{command.url}/v1/chat/completions", json=ASK) as answer:
                assert answer.status == 503
                assert "Retry-After" in answer.headers
            assert (await stream.read()).endswith(b"data: [DONE]\n\n")
        assert await command.rest() == 0


async def test_at_the_deadline_a_stream_ends_with_an_error_and_not_silently(
    config: str, engine: VllmDouble, http: aiohttp.ClientSession
) -> None:
    engine.fail(Fault(kind="slow", seconds=0.5, after=0))
    async with serving(SWITCHBOARD_CONFIG=config, SWITCHBOARD_DRAIN_SECONDS="0.3") as command:
        async with http.post(f"{command.url}/v1/chat/completions", json={**ASK, "stream": True}) as stream:
            await stream.content.readline()
            command.signal(signal.SIGTERM)
            body = await stream.read()
        assert b'"error"' in body and b"[DONE]" not in body
        assert await command.rest() == 0
        await engine.until(lambda double: len(double.aborts) == 1)


@pytest.mark.parametrize("cut", [Fault(kind="hang"), Fault(kind="slow", seconds=30)])
async def test_at_the_deadline_an_answer_not_yet_begun_becomes_503(
    config: str, engine: VllmDouble, http: aiohttp.ClientSession, cut: Fault
) -> None:
    engine.fail(cut)
    async with serving(SWITCHBOARD_CONFIG=config, SWITCHBOARD_DRAIN_SECONDS="0.3") as command:
        asking = asyncio.create_task(http.post(f"{command.url}/v1/chat/completions", json=ASK))
        await engine.until(lambda double: len(double.requests) == 1)
        command.signal(signal.SIGTERM)
        async with await asking as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert "shutting down" in (await answer.json())["error"]["message"]
        assert await command.rest() == 0
    assert [line["status"] for line in command.lines if line["event"] == "request"] == [503]


async def test_it_says_that_models_run_on_the_cpu_where_there_is_no_cuda(config: str) -> None:
    async with serving(SWITCHBOARD_CONFIG=config) as command:
        said = [line["event"] for line in command.lines]
    assert ("no CUDA device: models of this process run on the CPU" in said) == (device_count() == 0)


async def test_it_listens_on_several_addresses(config: str, http: aiohttp.ClientSession) -> None:
    async with serving(SWITCHBOARD_CONFIG=config, SWITCHBOARD_LISTEN="127.0.0.1:0, localhost:0,127.0.0.1:0") as command:
        addresses = command.lines[-1]["addresses"]
        assert isinstance(addresses, list) and len(set(map(str, addresses))) >= 3
        for address in addresses:
            async with http.get(f"{address}/ready") as answer:
                assert answer.status == 200


async def _refused(settings: dict[str, str]) -> str:
    process = await start("serve", {"SWITCHBOARD_LISTEN": "127.0.0.1:0", **settings})
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    assert process.returncode == 2
    return errors.decode()


async def test_a_wrong_start_is_one_clear_line(config: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text('[[engines]]\nname = "x"\nkind = "vllm"\n')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        cases = {
            "SWITCHBOARD_API_KEYS is empty": {"SWITCHBOARD_LISTEN": "0.0.0.0:0"},
            "wrong.toml:1: engines.0: an engine of kind vllm needs a `url`": {
                "SWITCHBOARD_CONFIG": str(tmp_path / "wrong.toml")
            },
            "no CUDA device is usable here": {"LX_DEVICE": "cuda", "SWITCHBOARD_CONFIG": config},
            f"cannot listen on 127.0.0.1:{port}": {
                "SWITCHBOARD_LISTEN": f"127.0.0.1:{port}",
                "SWITCHBOARD_CONFIG": config,
            },
        }
        told = await asyncio.gather(*(_refused(settings) for settings in cases.values()))
    for expected, line in zip(cases, told, strict=True):
        assert expected in line
        assert line.startswith("switchboard: ") and line.count("\n") == 1, line


async def test_remote_engines_alone_need_no_torch(config: str) -> None:
    async with serving(SWITCHBOARD_CONFIG=config) as command:
        maps = await asyncio.to_thread(Path(f"/proc/{command.process.pid}/maps").read_text)
    assert "libtorch" not in maps and "ctranslate2" not in maps


async def test_interrupting_twice_does_not_wait(config: str, engine: VllmDouble, http: aiohttp.ClientSession) -> None:
    engine.fail(Fault(kind="hang", after=2))
    async with (
        serving(SWITCHBOARD_CONFIG=config, SWITCHBOARD_DRAIN_SECONDS="600") as command,
        http.post(f"{command.url}/v1/chat/completions", json={**ASK, "stream": True}) as stream,
    ):
        await stream.content.readline()
        command.signal(signal.SIGINT)
        await command.until("draining")
        command.signal(signal.SIGINT)
        assert await command.rest() == 130


async def test_check_says_what_would_be_served(config: str) -> None:
    process = await start("check", {"SWITCHBOARD_CONFIG": config})
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert output.decode().startswith("ok: 3 models: m, ")
