"""The lines of docs/registry.md, in their order, answer what stands beneath them."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

import backends
from proxy.registry.config import read_registry
from proxy.settings import Settings
from tests.support import serve_app

ROOT = Path(backends.__file__).parents[1]
BLOCKS = re.findall(
    r"^```\n(.*?)^```$", (ROOT / "docs" / "registry.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide's lines are for curl")
async def test_the_guides_lines_answer_what_stands_there(tmp_path: Path) -> None:
    profile = ROOT / "backends" / "nano" / "switchboard.toml"
    registry = await asyncio.to_thread(read_registry, profile, Settings(data=tmp_path))
    answered = 0
    async with serve_app(registry, data=tmp_path) as url:
        for command, answer in pairwise([*BLOCKS, ""]):
            if not command.startswith("curl"):
                continue
            process = await asyncio.create_subprocess_shell(
                command.replace("http://127.0.0.1:8080", url).replace("curl ", "curl -s ", 1),
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
            told = json.loads(output)
            assert told["success"] is True, told
            if answer.startswith("{"):
                assert told == json.loads(answer)
                answered += 1
    assert answered == 2
