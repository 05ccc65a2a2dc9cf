"""SQLAlchemy's engines for either database: opened, with tables up to date, and which failures mean `away`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from importlib import import_module
from typing import TypeAlias

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.errors import ApiError
from proxy.storage.errors import StorageUnavailable
from proxy.storage.location import Location, SqliteFile
from proxy.storage.making import make_tables, revision
from proxy.storage.sqlite import open_sqlite
from proxy.storage.tables import REVISION

Failures: TypeAlias = tuple[type[Exception], ...]

# What may come in place of a connection to a file.
_NO_FILE: Failures = (OSError, sqlite3.Error)
# Classes of SQLSTATE: connection, deadlock, resources, intervention, system, internal.
_PASSING = frozenset({"08", "40", "53", "57", "58", "XX"})
_READ_ONLY = "25006"  # a standby that has not been promoted yet


class Engine:
    """Connections for reading and for writing. With SQLite there is one writer at a time, in the order of asking.

    failures: what the driver raises in place of a connection.
    """

    def __init__(
        self, readers: AsyncEngine, writers: AsyncEngine, turn: AbstractAsyncContextManager[None], failures: Failures
    ) -> None:
        self._readers = readers
        self._writers = writers
        self._turn = turn
        self._failures = failures

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction for reading. Raises StorageUnavailable."""
        async with _away_told(self._failures), self._readers.begin() as transaction:
            yield transaction

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction for writing, committed at the end of the block. Raises StorageUnavailable."""
        async with self._turn, _away_told(self._failures), self._writers.begin() as transaction:
            yield transaction

    async def close(self) -> None:
        """Close all connections."""
        await self._readers.dispose()
        await self._writers.dispose()


async def open_engine(location: Location) -> Engine:
    """Connect, and bring the tables up to date. Raises StorageUnavailable."""
    async with _away_told(_NO_FILE):
        opened = await asyncio.to_thread(_prepare, location)
    try:
        async with opened.read() as transaction:
            current = await transaction.run_sync(revision)
        if current is None:
            async with opened.write() as transaction:
                current = await transaction.run_sync(make_tables)
        if current != REVISION:
            # Alembic is imported when there is something to do: it costs 10 MB.
            migrate = await asyncio.to_thread(import_module, "proxy.storage.migrate")
            steps = await asyncio.to_thread(migrate.read_steps)
            async with opened.write() as transaction:
                await transaction.run_sync(migrate.upgrade, steps)
    except exc.SQLAlchemyError as error:
        await opened.close()
        raise StorageUnavailable from error
    except BaseException:
        await opened.close()
        raise
    return opened


def _prepare(location: Location) -> Engine:
    """All that touches files, and imports: neither database pays for the other's driver."""
    if isinstance(location, SqliteFile):
        return Engine(*open_sqlite(location.path), asyncio.Lock(), _NO_FILE)
    postgres = import_module("proxy.storage.postgres")
    engine: AsyncEngine = postgres.make_engine(location)
    return Engine(engine, engine, nullcontext(), postgres.NO_CONNECTION)


@asynccontextmanager
async def _away_told(failures: Failures) -> AsyncIterator[None]:
    no_connection: Failures = (*failures, exc.TimeoutError)
    try:
        yield
    except no_connection as error:
        raise StorageUnavailable from error
    except exc.DBAPIError as error:
        if not _is_away(error):
            raise
        raise StorageUnavailable from error
    except exc.StatementError as error:
        if isinstance(error.orig, ApiError):
            # What a column's type says of a value reaches the caller as it was said.
            raise error.orig from None
        raise


def _is_away(error: exc.DBAPIError) -> bool:
    """Whether the database, not the statement, is to blame: then the same request may do well in a moment."""
    state = getattr(error.orig, "sqlstate", None)
    return (
        error.connection_invalidated
        or isinstance(error, exc.OperationalError | exc.InterfaceError | exc.InternalError)
        or type(error) is exc.DatabaseError
        or (state is not None and (state[:2] in _PASSING or state == _READ_ONLY))
    )
