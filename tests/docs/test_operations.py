"""The lines to try in docs/operations.md, tried in their order; what they answer is what stands there."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest

import backends
from proxy.registry.config import load_registry
from proxy.settings import Settings
from tests.support import serve_app

ROOT = Path(backends.__file__).parents[1]
GUIDE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
BEFORE = """
[[engines]]
name = "gpu"
kind = "vllm"
url = "http://10.0.0.5:8000"
[[models]]
name = "llama"
engine = "gpu"
"""
AFTER = BEFORE.replace('url = "http://10.0.0.5:8000"', 'urls = ["http://10.0.0.5:8000", "http://10.0.0.6:8000"]')
DEFAULT = '[defaults]\ntext = "llama"\n'


async def run(line: str) -> object:
    """The JSON that a shell line prints."""
    process = await asyncio.create_subprocess_shell(line, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0, line
    answer: object = json.loads(output)
    return answer


class Door:
    """A file, and the lines of the guide asked of whoever serves it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.write(BEFORE)
        self.url = ""

    def write(self, text: str) -> None:
        self.file.write_text(text)

    async def ask(self, line: str) -> object:
        asked = line.strip().replace("http://127.0.0.1:8080", self.url).replace("curl ", "curl -sS ")
        # Names of replicas stay with their URLs: the first one has been alone.
        return await run(asked.replace("gpu%231", "gpu"))


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide's lines are for curl")
async def test_the_guides_lines_answer_what_stands_there(tmp_path: Path) -> None:
    door = Door(tmp_path / "switchboard.toml")
    registry = await asyncio.to_thread(load_registry, Settings(config=door.file))
    reload, reloaded, refused, *others = [block for block in BLOCKS if block.startswith(("curl", "{"))]
    async with serve_app(registry, backends.create, config=door.file) as door.url:
        door.write(AFTER + DEFAULT)
        assert await door.ask(reload) == json.loads(reloaded)
        door.write(AFTER.replace('"vllm"', '"vlm"'))
        assert str(await door.ask(reload)) == str(json.loads(refused)).replace("switchboard.toml", str(door.file))
        *pairs, listing = others
        assert len(pairs) == 6
        for line, answer in zip(pairs[::2], pairs[1::2], strict=True):
            assert await door.ask(line) == json.loads(answer.replace("gpu#1", "gpu")), line
        told = await door.ask(listing)
        assert isinstance(told, dict)
        gpu = next(engine for engine in told["engines"] if engine["name"] == "gpu")
        shown = {*gpu, *gpu["replicas"][0], *gpu["replicas"][0]["health"]} & set(re.findall(r"`(\w+)`", GUIDE))
        assert shown >= {"models", "draining", "in_flight", "replicas", "url", "health", "state", "refused"}
