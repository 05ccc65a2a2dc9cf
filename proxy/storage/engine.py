"""SQLAlchemy's engines for either database: how to connect, how transactions begin, and which failures mean `away`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, event, exc, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from proxy.errors import ApiError
from proxy.storage.errors import StorageUnavailable
from proxy.storage.location import Location, Postgres
from proxy.storage.postgres import CONNECT_SECONDS, NO_CONNECTION, connect
from proxy.storage.tables import REVISION

BUSY_SECONDS = 5
BUSY_PAUSE = 0.01
CONNECTIONS = 5

_NO_CONNECTION = (*NO_CONNECTION, sqlite3.Error, exc.TimeoutError)
# Classes of SQLSTATE: connection, deadlock, resources, intervention, system, internal.
_PASSING = frozenset({"08", "40", "53", "57", "58", "XX"})
_READ_ONLY = "25006"  # a standby that has not been promoted yet


class Engine:
    """Connections for reading and for writing. With SQLite there is one writer at a time, in the order of asking."""

    def __init__(self, readers: AsyncEngine, writers: AsyncEngine, turn: AbstractAsyncContextManager[None]) -> None:
        self._readers = readers
        self._writers = writers
        self._turn = turn

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction for reading. Raises StorageUnavailable."""
        async with _away_told(), self._readers.begin() as transaction:
            yield transaction

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction for writing, committed at the end of the block. Raises StorageUnavailable."""
        async with self._turn, _away_told(), self._writers.begin() as transaction:
            yield transaction

    async def close(self) -> None:
        """Close all connections."""
        await self._readers.dispose()
        await self._writers.dispose()


async def open_engine(location: Location) -> Engine:
    """Connect, and bring the tables up to date. Raises StorageUnavailable."""
    async with _away_told():
        opened = await asyncio.to_thread(_prepare, location)
    try:
        async with opened.read() as transaction:
            current = await transaction.run_sync(_revision)
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
    """All that touches files. A new one is for its owner's eyes: there will be people's words in it."""
    if isinstance(location, Postgres):
        engine = _postgres(location)
        return Engine(engine, engine, nullcontext())
    path = location.path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    _log_ahead(path)
    readers = _sqlite(path, "BEGIN", connections=CONNECTIONS)
    return Engine(readers, _sqlite(path, "BEGIN IMMEDIATE", connections=1), asyncio.Lock())


def _log_ahead(path: Path) -> None:
    """Have the file written by a log (WAL) for good. Of all that SQLite does, this alone waits for no other process, which may
    be making the same file at this moment. Raises sqlite3.Error.
    """
    until = time.monotonic() + BUSY_SECONDS
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                    raise
                time.sleep(BUSY_PAUSE)


def _revision(connection: Connection) -> str | None:
    """Which migration the database has seen last."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _postgres(location: Postgres) -> AsyncEngine:
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=partial(connect, location),
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=CONNECTIONS,
        max_overflow=CONNECTIONS,
        pool_timeout=CONNECT_SECONDS,
    )


def _sqlite(path: Path, begin: str, *, connections: int) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        hide_parameters=True,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: _SqliteConnection, _: object) -> None:
        # Transactions begin when we say so, not when the driver thinks that one is due.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={BUSY_SECONDS * 1000}",
            "synchronous=FULL",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begun(connection: _SqlConnection) -> None:
        connection.exec_driver_sql(begin)

    return engine


@asynccontextmanager
async def _away_told() -> AsyncIterator[None]:
    try:
        yield
    except _NO_CONNECTION as error:
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


class _Cursor(Protocol):
    def execute(self, statement: str) -> object: ...
    def close(self) -> None: ...


class _SqliteConnection(Protocol):
    isolation_level: str | None

    def cursor(self) -> _Cursor: ...


class _SqlConnection(Protocol):
    def exec_driver_sql(self, statement: str) -> object: ...
