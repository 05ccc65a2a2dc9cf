"""Bringing tables up to date, without Alembic's command line: its files are read first, its steps run in a transaction."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from proxy.storage.errors import StorageUnavailable
from proxy.storage.making import wait_for_turn

Steps: TypeAlias = ScriptDirectory


def read_steps() -> Steps:
    """The migrations, read from their files."""
    here = Path(__file__).parent / "migrations"
    steps = ScriptDirectory(here, version_locations=[str(here)])
    list(steps.walk_revisions())
    return steps


def upgrade(connection: Connection, steps: Steps) -> None:
    """Run the steps that this database has not seen, in the transaction that is open; of several proxies one does.

    Raises StorageUnavailable for a database that a newer version has written.
    """
    wait_for_turn(connection)
    context = MigrationContext.configure(
        connection, opts={"fn": lambda current, _: steps._upgrade_revs("head", current)}
    )
    with Operations.context(context):
        try:
            context.run_migrations()
        except CommandError as error:
            raise StorageUnavailable from error
