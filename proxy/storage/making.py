"""The tables of a new database, made as they are now: migrations are for those that have been there."""

from __future__ import annotations

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select, text

from proxy.storage.tables import METADATA, REVISION

LOCK = 0x53776263
"""Any number that all proxies agree on: who holds it in PostgreSQL changes tables."""

# Alembic's own, where it looks for what a database has seen.
_VERSIONS = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def revision(connection: Connection) -> str | None:
    """Which migration the database has seen last, "" = none yet; None = it is new."""
    if not inspect(connection).has_table(_VERSIONS.name):
        return None
    return connection.scalar(select(_VERSIONS.c.version_num)) or ""


def wait_for_turn(connection: Connection) -> None:
    """Of several proxies that want to change tables, one does, to the end of its transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})


def make_tables(connection: Connection) -> str | None:
    """All tables as they are now, in a database that is new: no migration has to be run, or even read.

    Which migration it has seen then, perhaps because another proxy was first.
    """
    wait_for_turn(connection)
    if (current := revision(connection)) is not None:
        return current
    METADATA.create_all(connection, checkfirst=False)
    _VERSIONS.create(connection)
    connection.execute(insert(_VERSIONS).values(version_num=REVISION))
    return REVISION
