"""The clients that the contract prints, unchanged, against the shipped models on the port that they have built in."""

from __future__ import annotations

import asyncio
import shutil
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


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[str]:
    """A proxy on port 5000; what its clients know as gpt2 is the shipped model."""
    config = tmp_path / "switchboard.toml"
    config.write_text(CONFIG)
    settings = {
        "SWITCHBOARD_CONFIG": str(config),
        "SWITCHBOARD_DATA": str(tmp_path),
        "SWITCHBOARD_LISTEN": "127.0.0.1:5000",
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
    assert await run(sys.executable, "-c", client("python"))
    if shutil.which("node") is None:
        pytest.skip("the second client is for Node.js, which is not installed")
    output = await run("node", "-e", client("javascript"))
    assert output.strip() not in ("", "undefined")
    async with aiohttp.ClientSession() as http, http.get(f"{door}/api/huggingface/models/gpt2") as answer:
        model = (await answer.json())["model"]
    assert (model["name"], model["model_type"], model["usage_count"]) == ("GPT-2", "text-generation", 2)
