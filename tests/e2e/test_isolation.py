"""SWITCHBOARD_ISOLATION=process: a fault in a library ends a worker, and neither the proxy nor its streams."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import aiohttp
import psutil

import backends
from tests.command import ROOT, Command, serving
from tests.engines.vllm_double import Fault, VllmDouble

NANO = Path(backends.__file__).parent / "nano" / "whisper"
CLIP = ROOT / "tests" / "data" / "speech" / "01.flac"
ASK = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20, "stream": True}
SECONDS = 60.0


async def transcribed(http: aiohttp.ClientSession, command: Command) -> str:
    """The transcript, asking again as the proxy tells."""
    async with asyncio.timeout(SECONDS):
        while True:
            form = aiohttp.FormData({"model": "ears"})
            form.add_field("file", CLIP.read_bytes(), filename="clip.flac")
            async with http.post(f"{command.url}/v1/audio/transcriptions", data=form) as answer:
                if answer.status == 200:
                    return str((await answer.json())["text"])
                assert answer.status == 503, await answer.text()
                await asyncio.sleep(float(answer.headers["Retry-After"]))


async def test_a_worker_does_not_outlive_its_proxy(tmp_path: Path) -> None:
    config = tmp_path / "switchboard.toml"
    config.write_text(f'[[models]]\nname = "ears"\nengine = "whisper"\nsource = "{NANO}"\n')
    async with (
        aiohttp.ClientSession() as http,
        serving(SWITCHBOARD_CONFIG=str(config), SWITCHBOARD_ISOLATION="process") as command,
    ):
        await transcribed(http, command)
        workers = psutil.Process(command.process.pid).children()
        command.signal(signal.SIGKILL)
        await command.rest()
    assert len(workers) == 1
    assert not (await asyncio.to_thread(psutil.wait_procs, workers, timeout=SECONDS))[1]


async def test_a_worker_that_faults_takes_no_stream_with_it_and_is_replaced(tmp_path: Path) -> None:
    config = tmp_path / "switchboard.toml"
    async with VllmDouble() as engine, aiohttp.ClientSession() as http:
        config.write_text(
            f'[[engines]]\nname = "e"\nkind = "vllm"\nurl = "{engine.url}/v1"\n'
            f'[[models]]\nname = "m"\nengine = "e"\nserved_as = "{engine.model}"\n'
            f'[[models]]\nname = "ears"\nengine = "whisper"\nsource = "{NANO}"\n'
        )
        engine.fail(Fault(kind="slow", seconds=0.1, after=0))
        async with serving(SWITCHBOARD_CONFIG=str(config), SWITCHBOARD_ISOLATION="process") as command:
            proxy = psutil.Process(command.process.pid)
            heard = await transcribed(http, command)
            (worker,) = proxy.children()
            async with http.post(f"{command.url}/v1/chat/completions", json=ASK) as stream:
                await stream.content.readline()
                worker.send_signal(signal.SIGSEGV)
                whole = await stream.read()
            assert b"[DONE]" in whole
            assert b'"error"' not in whole
            assert await transcribed(http, command) == heard
            (replaced,) = proxy.children()
            assert replaced.pid != worker.pid
            command.signal(signal.SIGTERM)
            assert await command.rest() == 0
        assert not replaced.is_running()
