"""Engines as real processes: started when asked for, once; what fails is told, and tried again; nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from backends.base import EngineSpec
from backends.errors import Broken, LoadTimedOut, Unavailable
from backends.launch import Launch, Process
from proxy.lifecycle.rules import Rules
from proxy.lifecycle.states import State
from tests.backends.remote.rig import dead_port
from tests.proxy.lifecycle.engine_rig import FAKE, engine_rig, launch, model

A = model("a")


def running(marker: str) -> list[psutil.Process]:
    """The processes of this machine with the marker in their command."""
    found = []
    for process in psutil.process_iter():
        try:
            if marker in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


async def test_one_start_however_many_ask() -> None:
    async with engine_rig({"a": launch("--delay", "0.3")}) as rig:
        assert not rig.manager.is_ready(A)

        async def client() -> int:
            async with rig.manager.use(A):
                return await rig.pid("a")

        assert len(set(await asyncio.gather(*(client() for _ in range(20))))) == 1
        assert rig.kinds("a")[0] == "load.started"
        assert rig.kinds("a")[-1] == "load.completed"
        assert rig.kinds("a").count("load.started") == 1


async def test_a_caller_who_leaves_does_not_stop_the_start() -> None:
    async with engine_rig({"a": launch("--delay", "0.3")}) as rig:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), rig.manager.use(A):
                pass
        await rig.until(lambda: rig.manager.is_ready(A))
        assert rig.kinds("a").count("load.started") == 1


async def test_all_models_of_an_engine_come_and_go_with_it() -> None:
    other = model("a", adapter=None)
    async with engine_rig({"a": launch()}, A, other) as rig:
        await rig.manager.ensure_ready(A)
        assert rig.manager.is_ready(other)
        await rig.manager.unload(other)
        assert not rig.manager.is_ready(A)


async def test_who_waited_long_enough_is_told_how_far_it_is_and_when_to_come_again() -> None:
    async with engine_rig({"a": launch("--delay", "1.2")}, rules=Rules(wait=0.3)) as rig:
        with pytest.raises(Unavailable, match=r"still loading \(loading_weights, 0 %\)") as told:
            await rig.manager.ensure_ready(A)
        assert told.value.retry_after == 5.0
        await rig.until(lambda: rig.manager.is_ready(A))
        await rig.manager.unload(A)
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"still loading \(loading_weights, [1-9]\d? %\)"):
            await rig.manager.ensure_ready(A)
        assert time.monotonic() - started < 1.0
        async with rig.manager.use(A, patient=True):
            pass


async def test_an_engine_that_ends_before_it_serves_is_told_with_its_last_words_and_without_secrets() -> None:
    failing = launch("--fail", "3", "--say", "no weights, token hf_secret", env={"HF_TOKEN": "hf_secret"})
    async with engine_rig({"a": failing}) as rig:
        with pytest.raises(Broken) as told:
            await rig.manager.ensure_ready(A)
        expected = "Engine 'a' ended with exit status 3 before it served. Its last words: no weights, token ***"
        assert told.value.message == expected
        assert rig.manager.place(A).state is State.ERROR
        assert rig.kinds("a")[-1] == "load.failed"


async def test_one_that_fails_time_and_again_gets_a_pause_and_says_why() -> None:
    async with engine_rig({"a": launch("--fail", "1", "--say", "out of luck")}) as rig:
        for _ in range(2):
            with pytest.raises(Broken):
                await rig.manager.ensure_ready(A)
        with pytest.raises(Unavailable, match=r"failed 2 times in a row; .* Its last words: out of luck") as told:
            await rig.manager.ensure_ready(A)
        assert told.value.retry_after is not None
        assert 0 < told.value.retry_after <= 2
        assert rig.kinds("a").count("load.started") == 2


async def test_a_program_that_is_not_there() -> None:
    missing = Launch(by=Process(command=("nonesuch-engine", "{port}")))
    async with engine_rig({"a": missing}) as rig:
        with pytest.raises(Broken, match="nonesuch-engine: No such file or directory"):
            await rig.manager.ensure_ready(A)


async def test_one_that_never_serves_is_given_up_and_ended() -> None:
    marker = f"--name=never-{os.getpid()}"
    async with engine_rig({"a": launch("--delay", "60", marker, start=0.5)}) as rig:
        with pytest.raises(LoadTimedOut, match=r"did not serve within 0.5 s"):
            await rig.manager.ensure_ready(A)
        assert not running(marker)


async def test_killed_while_it_served_it_is_started_again_by_the_next_request() -> None:
    async with engine_rig({"a": launch("--say", "hello")}) as rig:
        await rig.manager.ensure_ready(A)
        first = await rig.pid("a")
        os.kill(first, signal.SIGKILL)
        await rig.until(lambda: rig.manager.place(A).state is State.ERROR)
        error = rig.manager.place(A).error
        assert error is not None
        assert error.message == "Engine 'a' was ended by signal 9. Its last words: hello"
        assert any(each.kind == "error" for each in rig.news)
        async with rig.manager.use(A):
            assert await rig.pid("a") != first


async def test_what_an_engine_leaves_behind_when_it_is_killed_ends_at_once() -> None:
    async with engine_rig({"a": launch("--child", grace=30.0)}) as rig:
        await rig.manager.ensure_ready(A)
        engine = psutil.Process(await rig.pid("a"))
        (child,) = engine.children()
        child.suspend()
        started = time.monotonic()
        engine.kill()
        await rig.until(lambda: not rig.manager.is_ready(A))
        assert time.monotonic() - started < 5, "a stopped process heeds nothing but SIGKILL"
        assert not child.is_running()


async def test_what_ignores_a_kind_word_is_killed_with_all_that_it_started() -> None:
    marker = f"--name=stubborn-{os.getpid()}"
    async with engine_rig({"a": launch("--stubborn", "--child", marker, grace=0.3)}) as rig:
        await rig.manager.ensure_ready(A)
        engine = psutil.Process(await rig.pid("a"))
        family = [engine, *engine.children(recursive=True)]
        assert len(family) == 2
        await rig.manager.unload(A)
        assert not any(process.is_running() for process in family)


async def test_a_start_under_way_ends_with_the_proxy() -> None:
    marker = f"--name=starting-{os.getpid()}"
    async with engine_rig({"a": launch("--delay", "60", marker)}) as rig:
        rig.manager.load(A)
        await rig.until(lambda: bool(running(marker)))
    assert not running(marker)


OWNER = """
import asyncio, sys
from tests.proxy.lifecycle.engine_rig import engine_rig, launch, model

async def main():
    async with engine_rig({"a": launch("--child", "--stubborn", sys.argv[1], grace=0.2)}) as rig:
        await rig.manager.ensure_ready(model("a"))
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_proxy_that_is_killed_leaves_no_engine_behind() -> None:
    marker = f"--name=orphan-{os.getpid()}"
    root = Path(__file__).parents[3]
    owner = subprocess.Popen([sys.executable, "-c", OWNER, marker], cwd=root, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner, owner.stdout:
        while (line := owner.stdout.readline()) and line != "ready\n":
            pass
        engines = [process for process in running(marker) if FAKE in process.cmdline()[1]]
        family = [*engines, *engines[0].children(recursive=True)]
        assert len(family) == 2
        owner.kill()
    assert not psutil.wait_procs(family, timeout=10)[1]


async def test_adapters_are_loaded_when_they_are_asked_for_and_again_when_their_engine_began_anew() -> None:
    tuned = model("a", adapter="tuned")
    async with engine_rig({"a": launch("--delay", "0.2")}, A, tuned) as rig:

        async def client() -> object:
            async with rig.manager.use(tuned):
                return (await rig.get("a", "/asked"))["adapters"]

        assert await asyncio.gather(*(client() for _ in range(5))) == [{"a-tuned": "tuned"}] * 5
        assert (await rig.get("a", "/asked"))["asked"] == ["/v1/load_lora_adapter"]
        assert rig.kinds("a-tuned") == ["load.started", "load.completed"]
        os.kill(await rig.pid("a"), signal.SIGKILL)
        await rig.until(lambda: not rig.manager.is_ready(tuned))
        assert await client() == {"a-tuned": "tuned"}
        await rig.manager.unload(tuned)
        assert (await rig.get("a", "/asked"))["adapters"] == {}
        assert rig.manager.is_ready(A)


async def test_an_adapter_is_loaded_where_a_replica_is_there_and_not_waited_for_where_none_is() -> None:
    tuned = model("both", adapter="tuned")
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="Success")

    app = web.Application()
    app.router.add_post("/v1/{verb}_lora_adapter", answer)
    async with TestServer(app) as server:
        with dead_port() as dead:
            urls = (dead, str(server.make_url("")).rstrip("/"))
            async with engine_rig({"both": EngineSpec(name="both", kind="vllm", urls=urls)}, tuned) as rig:
                await rig.manager.ensure_ready(tuned)
                assert asked == ["/v1/load_lora_adapter"]
                await rig.manager.unload(tuned)
                assert asked == ["/v1/load_lora_adapter", "/v1/unload_lora_adapter"]
            async with engine_rig({"both": EngineSpec(name="both", kind="vllm", urls=(dead,))}, tuned) as rig:
                with pytest.raises(Unavailable, match="cannot be reached"):
                    await rig.manager.ensure_ready(tuned)
