"""Real vLLM processes that the proxy starts and stops: on demand, in turns, after they were killed, with an adapter."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import openai
import psutil
import pytest

from proxy.lifecycle import guard
from tests.command import served
from tests.engines.lora import make_adapter
from tests.engines.real_vllm import CHAT, ENVIRONMENT, SERVED_AS

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900)]

MESSAGES: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hello!"}]
FLAGS = ("--enforce-eager", "--max-model-len", "1024", "--max-num-seqs", "4", "--max-lora-rank", "8")
MB = 3000
"""For which each engine counts; it holds less."""


@contextmanager
def door(python: str, directory: Path, *engines: str, adapter: Path | None = None) -> Iterator[tuple[str, int]]:
    """A proxy that has memory for one of these engines at a time, each with a model of its name: URL and process."""
    python = _on_one_core(python, directory)
    # Other tests' engines may serve the same files.
    before = _serving()
    environment = ", ".join(f'{name} = "{value}"' for name, value in ENVIRONMENT.items())
    config = "".join(
        f"""
[[engines]]
name = "{name}"
kind = "vllm"
timeouts = {{ connect = 2, first_byte = 120, idle = 30 }}

[engines.launch]
how = "process"
python = "{python}"
model = "{CHAT}"
args = [{", ".join(f'"{flag}"' for flag in FLAGS)}]
env = {{ {environment} }}
log = "{name}.log"
memory_mb = {MB}
start_seconds = 400

[[models]]
name = "{name}"
engine = "{name}"
served_as = "{SERVED_AS}"
"""
        for name in engines
    )
    if adapter is not None:
        config += f'\n[[models]]\nname = "tuned"\nengine = "{engines[0]}"\nadapter = "{adapter}"\n'
    file = directory / "switchboard.toml"
    file.write_text(config)
    with served(
        directory / "proxy.log",
        SWITCHBOARD_CONFIG=str(file),
        SWITCHBOARD_DATA=str(directory / "data"),
        SWITCHBOARD_DRAIN_SECONDS="1",
        SWITCHBOARD_LOAD_WAIT_SECONDS="400",
        SWITCHBOARD_MEMORY_BUDGET_MB=str(MB + 500),
    ) as command:
        yield command.url, command.process.pid
    assert not _serving() - before, "none is left"


def vllms(proxy: int) -> list[psutil.Process]:
    """The vLLM servers that run under the proxy."""
    children = psutil.Process(proxy).children(recursive=True)
    return [
        child
        for child in children
        if "--served-model-name" in _command(child) and guard.__file__ not in _command(child)
    ]


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=500)


async def test_started_on_demand_with_an_adapter_and_swapped(vllm_python: str, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "adapter")
    with door(vllm_python, tmp_path, "first", "second", adapter=adapter) as (url, proxy):
        assert vllms(proxy) == []
        async with aiohttp.ClientSession() as http:
            body = {"model": "first", "messages": MESSAGES, "stream": True, "max_tokens": 8}
            async with http.post(f"{url}/v1/chat/completions", json=body) as answer:
                lines = [line.decode().strip() async for line in answer.content]
        assert lines[0].startswith(": loading"), "a comment while it starts"
        assert "data: [DONE]" in lines
        first = {process.pid for process in vllms(proxy)}
        assert first

        async with client(url) as sdk:
            listed = [model.id async for model in sdk.models.list()]
            assert listed[:3] == ["first", "second", "tuned"]
            asked = {"prompt": "Hello", "max_tokens": 12, "temperature": 0.0}
            plain = await sdk.completions.create(model="first", **asked)  # type: ignore[call-overload]
            tuned = await sdk.completions.create(model="tuned", **asked)  # type: ignore[call-overload]
            assert plain.choices[0].text != tuned.choices[0].text

            answered = await sdk.chat.completions.create(model="second", messages=MESSAGES, max_tokens=8)
            assert answered.choices[0].finish_reason in ("stop", "length")
        second = {process.pid for process in vllms(proxy)}
        assert second
        assert not first & second, "the first made room"


async def test_killed_under_a_stream_and_started_again(vllm_python: str, tmp_path: Path) -> None:
    with door(vllm_python, tmp_path, "only") as (url, proxy):
        async with client(url) as sdk:
            stream = await sdk.completions.create(
                model="only", prompt="Hello", max_tokens=900, stream=True, extra_body={"ignore_eos": True}
            )
            await anext(aiter(stream))
            killed = vllms(proxy)
            for process in killed:
                os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(openai.APIError) as told:
                async for _ in stream:
                    pass
            assert type(told.value) is openai.APIError, "an event of the stream, not a broken connection"
            answered = await sdk.chat.completions.create(model="only", messages=MESSAGES, max_tokens=8)
            assert answered.choices[0].message.content is not None
        assert {process.pid for process in vllms(proxy)}.isdisjoint(process.pid for process in killed)


def _on_one_core(python: str, directory: Path) -> str:
    """The interpreter. vLLM's processes wait for each other by spinning: on two cores, nothing else would get a turn."""
    script = directory / "python"
    script.write_text(f'#!/bin/sh\nexec taskset -c {max(os.sched_getaffinity(0))} {python} "$@"\n')
    script.chmod(0o755)
    return str(script)


def _serving() -> set[psutil.Process]:
    return {process for process in psutil.process_iter() if str(CHAT) in _command(process)}


def _command(process: psutil.Process) -> list[str]:
    try:
        return [*process.cmdline()]
    except psutil.Error:
        return []
