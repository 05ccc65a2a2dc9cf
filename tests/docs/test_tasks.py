"""docs/tasks.md names every task and what it needs, and its lines answer what stands there."""

from __future__ import annotations

import asyncio
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

import backends
from backends.pipelines.params import Params
from backends.pipelines.tasks import ALIASES, PACKAGES, PILLOW, TASKS
from proxy.registry.config import read_registry
from proxy.settings import Settings
from tests.support import serve_app

ROOT = Path(backends.__file__).parents[1]
GUIDE = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in GUIDE.splitlines() if line.startswith("| ")][
    1:
]
BLOCKS = re.findall(r"^```\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def names(cell: str) -> set[str]:
    return set(re.findall(r"[a-z_0-9-]+", cell)) - {"also"}


def test_every_task_is_there_with_what_it_needs() -> None:
    assert [sorted(names(row[0]) & TASKS.keys()) for row in ROWS] == [[name] for name in sorted(TASKS)]
    assert {alias for row in ROWS for alias in names(row[0]) - TASKS.keys()} == {*ALIASES, "translation_xx_to_yy"}
    for row in ROWS:
        (task,) = (TASKS[name] for name in names(row[0]) & TASKS.keys())
        assert {PACKAGES[name] for name in task.needs if name not in PILLOW} <= names(row[3]), task.name
        assert _required(task.params) == (names(row[2]) if row[2] else set()), task.name


def _required(params: type[Params]) -> set[str]:
    return {name for name, field in params.model_fields.items() if field.is_required()}


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide's lines are for curl")
async def test_the_guides_lines_answer_what_stands_there(tmp_path: Path) -> None:
    profile = ROOT / "backends" / "nano" / "switchboard.toml"
    registry = await asyncio.to_thread(read_registry, profile, Settings(data=tmp_path))
    examples = [(command, answer) for command, answer in pairwise(BLOCKS) if "curl" in command]
    assert len(examples) == 2
    async with serve_app(registry, data=tmp_path) as url:
        for command, answer in examples:
            process = await asyncio.create_subprocess_shell(
                command.replace("http://127.0.0.1:8080", url).replace("curl ", "curl -s ", 1),
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
            assert output.decode().strip() == answer.strip()
