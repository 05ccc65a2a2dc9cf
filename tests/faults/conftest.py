"""A seed, a ledger and an engine for each fault; what was seen is held to the table at the end."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from pathlib import Path

import pluggy
import pytest
import uvloop

from tests.faults.ledger import Ledger
from tests.faults.matrix import ROWS, SEED, TABLE
from tests.faults.scripted_engine import ScriptedEngine


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def seed() -> int:
    """FAULTS_SEED, or the one that the table was made with."""
    print(f"FAULTS_SEED={_seed()}")
    return _seed()


def _seed() -> int:
    return int(os.environ.get("FAULTS_SEED", SEED))


@pytest.fixture
def ledger(request: pytest.FixtureRequest, seed: int) -> Iterator[Ledger]:
    """The books of one row; its test must have seen what the table says."""
    ledger = Ledger()
    yield ledger
    if not request.node.stash.get(FAILED, False):
        row = ROWS[request.node.originalname.split("_")[1].upper()]
        request.config.stash.setdefault(SEEN, []).append(f"{row.name}  {ledger.seen}")
        assert seed != SEED or ledger.seen == row.seen, f"write it to {TABLE.name}, and make docs/faults.md anew"


FAILED = pytest.StashKey[bool]()
SEEN = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What each test's ledger says."""
    if seen := config.stash.get(SEEN, []):
        terminalreporter.section(f"FAULTS_SEED={_seed()}")
        for line in sorted(seen):
            terminalreporter.line(line)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pluggy.Result[pytest.TestReport], None]:
    report = (yield).get_result()
    if call.when == "call":
        item.stash[FAILED] = report.failed


@pytest.fixture
async def engine(seed: int) -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine(seed) as engine:
        yield engine


@pytest.fixture
async def second(seed: int) -> AsyncIterator[ScriptedEngine]:
    """Another one, which says the same."""
    async with ScriptedEngine(seed) as engine:
        yield engine


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    return directory


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
