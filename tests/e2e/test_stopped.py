"""The process is stopped for longer than any engine may be silent, and goes on: nobody is blamed for that."""

from __future__ import annotations

import asyncio
from pathlib import Path
from signal import SIGCONT, SIGSTOP

from aiohttp import ClientSession

from tests.command import serving
from tests.engines.vllm_double import Fault, VllmDouble

CONFIG = """
[[engines]]
name = "gpu"
kind = "vllm"
urls = ["{}", "{}"]
timeouts = {{ connect = 1, first_byte = 1.5, idle = 1.5 }}

[[models]]
name = "m"
engine = "gpu"
served_as = "served"
policy = "round_robin"
"""


async def test_streams_go_on_and_no_engine_is_ejected(tmp_path: Path) -> None:
    async with VllmDouble("served") as one, VllmDouble("served") as other:
        path = tmp_path / "switchboard.toml"
        path.write_text(CONFIG.format(one.url, other.url))
        async with serving(SWITCHBOARD_CONFIG=str(path)) as proxy, ClientSession(proxy.url) as http:
            for engine in (one, other):
                engine.fail(*[Fault(kind="slow", seconds=1)] * 2)

            async def ask() -> str:
                body = {
                    "model": "m",
                    "messages": [{"role": "user", "content": "hello"}],
                    "stream": True,
                    "max_tokens": 2,
                }
                async with http.post("/v1/chat/completions", json=body) as answer:
                    return await answer.text()

            asking = [asyncio.create_task(ask()) for _ in range(4)]
            for engine in (one, other):
                await engine.until(lambda engine: engine.running == 2)
            # Each has been silent for a while already; timers fire before what has arrived meanwhile is read.
            await asyncio.sleep(0.6)
            proxy.signal(SIGSTOP)
            await asyncio.sleep(4)
            proxy.signal(SIGCONT)
            assert all("[DONE]" in text for text in await asyncio.gather(*asking))
            async with http.get("/metrics") as answer:
                told = await answer.text()
        assert told.count('state="serving"} 1.0') == 2
        assert "switchboard_replica_ejections_total{" not in told
