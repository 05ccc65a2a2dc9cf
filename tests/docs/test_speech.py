"""The lines to try in docs/speech.md, tried; what they answer is what stands there, but for figures."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

import backends
from proxy.contracts.openai.audio_form import FORMATS
from proxy.registry.config import read_registry
from proxy.settings import Settings
from proxy.speech_options import OPTIONS
from tests.support import serve_app

ROOT = Path(backends.__file__).parents[1]
GUIDE = (ROOT / "docs" / "speech.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
BLOCKS = [block for language, block in FENCED if not language]
EXAMPLES = [
    (command, "" if "curl" in answer else answer)
    for command, answer in zip(BLOCKS, [*BLOCKS[1:], ""], strict=True)
    if "curl" in command and "meeting.wav" not in command
]


def without_figures(text: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "#", text).strip()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide's lines are for curl")
async def test_the_guides_lines_answer_what_stands_there(tmp_path: Path) -> None:
    profile = ROOT / "backends" / "nano" / "switchboard.toml"
    registry = await asyncio.to_thread(read_registry, profile, Settings(data=tmp_path))
    assert len(EXAMPLES) == 6
    async with serve_app(registry) as url:
        for command, answer in EXAMPLES:
            line = command.replace("http://127.0.0.1:8080", url).replace("curl ", "curl -s ")
            process = await asyncio.create_subprocess_shell(line, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
            output, _ = await process.communicate()
            if answer:
                assert without_figures(output.decode()) == without_figures(answer), command
            else:
                assert "X-Switchboard-Transcribed: 1" in output.decode(), command


def test_every_option_and_format_is_told() -> None:
    told = set(re.findall(r"`([a-z_]+)", GUIDE))
    assert told >= OPTIONS
    assert told >= set(FORMATS)
