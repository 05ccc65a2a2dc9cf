"""The clients that the contract prints, unchanged, against the shipped models on the port that they have built in.

Where that port is taken, on another one, which is then all that is changed in them.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.command import ROOT, serving
from tests.contracts.registry.printed import client

CONFIG = f"""
[[models]]
name = "nano-chat"
engine = "transformers"
source = "{ROOT / "backends" / "nano" / "chat"}"
aliases = ["gpt2"]
"""


BUILT_IN = "localhost:5000"


def free(port: int) -> bool:
    """Whether the port can be listened on."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def printed(language: str, door: str) -> str:
    """The printed client, for a proxy at this address."""
    address = door.removeprefix("http://")
    code = client(language)
    assert BUILT_IN in code
    return code if address.endswith(":5000") else code.replace(BUILT_IN, address)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[str]:
    """A proxy, on port 5000 if that is free; what its clients know as gpt2 is the shipped model."""
    config = tmp_path / "switchboard.toml"
    config.write_text(CONFIG)
    settings = {
        "SWITCHBOARD_CONFIG": str(config),
        "SWITCHBOARD_DATA": str(tmp_path),
        "SWITCHBOARD_LISTEN": f"127.0.0.1:{5000 if free(5000) else 0}",
    }
    async with serving(**settings) as command:
        yield command.url


async def run(*command: str) -> str:
    """What a command prints."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_the_printed_clients_add_a_model_and_generate(door: str) -> None:
    assert await run(sys.executable, "-c", printed("python", door))
    if shutil.which("node") is None:
        pytest.skip("the second client is for Node.js, which is not installed")
    output = await run("node", "-e", printed("javascript", door))
    assert output.strip() not in ("", "undefined")
    async with aiohttp.ClientSession() as http, http.get(f"{door}/api/huggingface/models/gpt2") as answer:
        model = (await answer.json())["model"]
    assert (model["name"], model["model_type"], model["usage_count"]) == ("GPT-2", "text-generation", 2)
