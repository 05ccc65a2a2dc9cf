"""For every test: a clean environment, no hub, and an event loop that nobody blocks."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from proxy.storage.database import Database
from proxy.storage.location import Location, Postgres, SqliteFile
from tests.postgres import MISSING, Cluster, programs


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings come from the test alone; conversions go to its own directory; the hub is out of reach."""
    for name in list(os.environ):
        if name.startswith(("SWITCHBOARD_", "LX_", "WHISPERX_", "DIARIZATION_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def hub_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the hub's client against a server of the test's own: HF_HUB_OFFLINE of the shell says nothing about loopback."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[BlockBuster]:
    """A test fails when package code blocks the event loop (a file read, a sleep, a lock)."""
    with blockbuster_ctx(scanned_modules=["proxy", "backends"]) as blockbuster:
        # The driver looks for files with a password and certificates, once a connection.
        for function in blockbuster.functions.values():
            function.can_block_in("asyncpg/connect_utils.py", "_parse_connect_dsn_and_args")
        yield blockbuster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server for all tests that ask. Where none is installed they do not run, and the summary says so."""
    found = programs()
    if found is None:
        pytest.skip(MISSING)
    cluster = Cluster(found)
    yield cluster
    cluster.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    """An empty database of either kind."""
    if request.param == "sqlite":
        yield SqliteFile(tmp_path / "rows" / "switchboard.sqlite3")
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    place = Postgres(cluster.create())
    yield place
    cluster.give_back(place.url)


@pytest.fixture
async def database(location: Location) -> AsyncIterator[Database]:
    """The same, ready to use."""
    database = Database(location)
    yield database
    await database.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly how many tests a missing PostgreSQL has cost."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if MISSING in str(report.longrepr)]
    if skipped:
        terminalreporter.section("NOT TESTED ON POSTGRESQL", red=True, bold=True)
        terminalreporter.line(f"{len(skipped)} tests did not run: {MISSING}.")
