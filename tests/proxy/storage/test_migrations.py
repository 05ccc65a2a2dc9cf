"""The tables that migrations make are those that the code knows; many proxies may start at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from proxy.storage.database import Database
from proxy.storage.errors import StorageUnavailable
from proxy.storage.location import Location, Postgres
from proxy.storage.migrate import read_steps, upgrade
from proxy.storage.tables import METADATA, REVISION

ROOT = Path(__file__).parents[3]

OPEN = """
import asyncio, sys
from pathlib import Path
from proxy.storage.database import Database
from proxy.storage.location import Postgres, SqliteFile

async def main(where):
    database = Database(Postgres(where) if "://" in where else SqliteFile(Path(where)))
    sys.stdin.readline()
    async with database.write():
        pass
    await database.close()

asyncio.run(main(sys.argv[1]))
"""


def where(location: Location) -> str:
    return location.url if isinstance(location, Postgres) else str(location.path)


def shape(connection: Connection) -> dict[str, object]:
    """All that the database says of its tables."""
    look = inspect(connection)
    return {
        name: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in look.get_columns(name)],
            look.get_pk_constraint(name),
            look.get_foreign_keys(name),
            look.get_indexes(name),
        )
        for name in sorted(look.get_table_names())
    }


def forget_all(connection: Connection) -> None:
    """An empty database again."""
    METADATA.drop_all(connection)
    connection.execute(text("DROP TABLE alembic_version"))


async def test_migrations_make_the_tables_that_the_code_knows(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), METADATA))

    steps = await asyncio.to_thread(read_steps)
    async with database.write() as tx:
        made = await tx.run_sync(shape)
        assert await tx.run_sync(differences) == []
        await tx.run_sync(forget_all)
    async with database.write() as tx:
        await tx.run_sync(upgrade, steps)
    async with database.read() as tx:
        assert await tx.run_sync(shape) == made
        assert await tx.run_sync(differences) == []


async def test_an_old_database_is_migrated_when_it_is_opened(location: Location) -> None:
    """One that has seen no migration yet, as if there had been one before the first."""
    for statement in ("DELETE FROM alembic_version", "SELECT 1"):
        database = Database(location)
        async with database.write() as tx:
            if statement.startswith("DELETE"):
                await tx.run_sync(METADATA.drop_all)
            await tx.execute(text(statement))
            assert await tx.scalar(text("SELECT count(*) FROM alembic_version")) == (statement == "SELECT 1")
        await database.close()


def test_migrations_are_one_line_up_to_the_tables() -> None:
    steps = read_steps()
    assert steps.get_heads() == [REVISION]
    assert len(steps.get_bases()) == 1


async def test_proxies_that_start_at_once_migrate_once(location: Location) -> None:
    command = [sys.executable, "-W", "error", "-c", OPEN, where(location)]
    proxies = [
        await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    outcomes = await asyncio.gather(*(proxy.communicate(b"go\n") for proxy in proxies))
    assert [proxy.returncode for proxy in proxies] == [0] * 4, outcomes


async def test_a_database_of_a_newer_version_is_left_alone(location: Location) -> None:
    database = Database(location)
    async with database.write() as tx:
        await tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await database.close()
    with structlog.testing.capture_logs() as lines, pytest.raises(StorageUnavailable):
        async with database.read():
            pass
    assert "9999" in str(lines)
    await database.close()


async def test_a_database_that_is_up_to_date_needs_no_migrations(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        database = Database(location)
        async with database.read():
            pass
        await database.close()
        monkeypatch.setattr("proxy.storage.migrate.read_steps", None)
