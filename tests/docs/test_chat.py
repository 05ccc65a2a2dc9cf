"""The lines to try in docs/chat.md, tried in their order; what they answer is what stands there, but for times."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import backends
from proxy.registry.config import read_registry
from proxy.settings import Settings
from tests.support import serve_app

ROOT = Path(backends.__file__).parents[1]
GUIDE = (ROOT / "docs" / "chat.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
MAKE_SECRET, MAKE_TOKEN = (next(block for block in BLOCKS if block.startswith(start)) for start in ("openssl", ".venv"))
EXAMPLES = [(line, answer) for line, answer in pairwise(BLOCKS) if line.startswith("curl")]


def timeless(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", "TIME", text).strip()


async def run(line: str, **environment: str) -> str:
    """What a shell line prints."""
    process = await asyncio.create_subprocess_shell(
        line, cwd=ROOT, env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, line
    return output.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide's lines are for curl")
@pytest.mark.parametrize("tokens", ["checked", "any"])
async def test_the_guides_lines_answer_what_stands_there(tmp_path: Path, tokens: str) -> None:
    profile = ROOT / "backends" / "nano" / "switchboard.toml"
    registry = await asyncio.to_thread(read_registry, profile, Settings(data=tmp_path))
    token, secret = "any", None
    if tokens == "checked":
        secret = (await run(MAKE_SECRET)).strip()
        token = (
            await run(MAKE_TOKEN.replace(".venv/bin/python", sys.executable), SWITCHBOARD_JWT_SECRET=secret)
        ).strip()
    assert len(EXAMPLES) == 5
    async with serve_app(registry, data=tmp_path, jwt_secret=secret) as url:
        for line, answer in EXAMPLES:
            asked = line.replace("http://127.0.0.1:8080", url).replace("curl ", "curl -sS ")
            assert timeless(await run(asked, TOKEN=token)) == timeless(answer), line
