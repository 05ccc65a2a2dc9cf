"""A database that is away: told as 503 with the time to come back, never as anything else; and it recovers by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import structlog
from sqlalchemy import select, text

from proxy.errors import ErrorCode
from proxy.storage import postgres as postgres_connection
from proxy.storage import sqlite
from proxy.storage.database import Database
from proxy.storage.errors import StorageUnavailable
from proxy.storage.location import Postgres, SqliteFile
from tests.gate import Gate
from tests.postgres import Cluster


@pytest.fixture
async def gate(postgres: Cluster) -> AsyncIterator[Gate]:
    """What stands between the proxy and PostgreSQL."""
    async with Gate(postgres.port) as gate:
        yield gate


@pytest.fixture
async def behind_gate(gate: Gate, postgres: Cluster, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database on the other side of it, with little patience."""
    monkeypatch.setattr(postgres_connection, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(postgres_connection, "STATEMENT_SECONDS", 0.5)
    url = urlsplit(postgres.create())
    database = Database(Postgres(url._replace(netloc=f"{url.username}@127.0.0.1:{gate.port}").geturl()))
    yield database
    gate.open()
    await database.close()


async def ask(database: Database) -> None:
    async with database.read() as tx:
        await tx.execute(select(1))


async def refused(database: Database) -> StorageUnavailable:
    with pytest.raises(StorageUnavailable) as told:
        await ask(database)
    return told.value


async def test_away_from_the_start_and_then_there(behind_gate: Database, gate: Gate) -> None:
    await gate.shut()
    error = await refused(behind_gate)
    assert (error.code, error.status, error.retry_after) == (ErrorCode.UNAVAILABLE, 503, 2)
    gate.open()
    await ask(behind_gate)


async def test_away_in_the_middle_and_back(behind_gate: Database, gate: Gate) -> None:
    await ask(behind_gate)
    await gate.shut()
    await refused(behind_gate)
    await refused(behind_gate)
    gate.open()
    await ask(behind_gate)


async def test_one_that_says_nothing_is_away_too(behind_gate: Database, gate: Gate) -> None:
    await ask(behind_gate)
    gate.mute = True
    async with asyncio.timeout(5):
        await refused(behind_gate)
    gate.mute = False
    await gate.shut()
    gate.open()
    await ask(behind_gate)


async def test_connections_cut_between_two_requests_cost_nobody_anything(behind_gate: Database) -> None:
    async def cut(database: Database) -> None:
        async with database.write() as tx:
            others = "pid <> pg_backend_pid() AND datname = current_database()"
            await tx.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))

    await asyncio.gather(*(ask(behind_gate) for _ in range(5)))
    await cut(behind_gate)
    await asyncio.gather(*(ask(behind_gate) for _ in range(5)))


async def test_cut_off_in_the_middle_of_a_transaction(behind_gate: Database) -> None:
    with pytest.raises(StorageUnavailable):
        async with behind_gate.read() as tx:
            await tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    await ask(behind_gate)


async def test_a_server_that_crashes_and_comes_back(postgres: Cluster) -> None:
    database = Database(Postgres(postgres.create()))
    await ask(database)
    await asyncio.to_thread(postgres.stop)
    try:
        await refused(database)
    finally:
        await asyncio.to_thread(postgres.start)
    await ask(database)
    await database.close()


async def test_no_more_callers_than_connections_wait_long(behind_gate: Database) -> None:
    await ask(behind_gate)
    outcomes = await asyncio.gather(*(_hold(behind_gate) for _ in range(30)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes if outcome is not None} <= {StorageUnavailable}
    await ask(behind_gate)


async def _hold(database: Database) -> None:
    async with database.read() as tx:
        await tx.execute(text("SELECT pg_sleep(0.3)"))


async def test_a_sqlite_file_locked_by_another_program(
    database: Database, location: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(location, SqliteFile):
        return
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0)
    other = Database(location)
    async with database.write():
        with pytest.raises(StorageUnavailable):
            async with other.write():
                pass
    async with other.write():
        pass
    await other.close()


@pytest.mark.parametrize("what", ["garbage", "directory", "no directory"])
async def test_a_place_where_no_sqlite_database_can_be(tmp_path: Path, what: str) -> None:
    path = tmp_path / "place" / "rows.sqlite3"
    await asyncio.to_thread(_spoil, path, what)
    database = Database(SqliteFile(path))
    for _ in range(2):
        await refused(database)
    await asyncio.to_thread(_mend, path)
    await ask(database)
    await database.close()


def _spoil(path: Path, what: str) -> None:
    if what == "no directory":
        path.parent.write_text("a file where a directory should be")
        return
    path.parent.mkdir()
    if what == "directory":
        path.mkdir()
    else:
        path.write_bytes(b"no database at all " * 1000)


def _mend(path: Path) -> None:
    if path.parent.is_file():
        path.parent.unlink()
    elif path.is_dir():
        path.rmdir()
    else:
        path.unlink()


@pytest.mark.parametrize("where", ["host:port/name", "user:word@[::1/name", "127.0.0.1:99999/name", "h/n?sslmode=odd"])
async def test_a_url_that_makes_no_sense_is_told_to_the_operator_without_its_secrets(where: str) -> None:
    database = Database(Postgres(f"postgresql://{where}"))
    with structlog.testing.capture_logs() as lines:
        await refused(database)
    assert "SWITCHBOARD_DATABASE_URL" in str(lines)
    assert "word" not in str(lines)
    await database.close()
