"""A SQLite file: how it is made, and how transactions on it begin."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Protocol

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

BUSY_SECONDS = 5
BUSY_PAUSE = 0.01
CONNECT_SECONDS = 5.0
READERS = 5


def open_sqlite(path: Path) -> tuple[AsyncEngine, AsyncEngine]:
    """What reads the file, and what writes to it, one connection. Blocks. Raises OSError or sqlite3.Error.

    A new file is for its owner's eyes: there will be people's words in it.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    _log_ahead(path)
    return _engine(path, "BEGIN", connections=READERS), _engine(path, "BEGIN IMMEDIATE", connections=1)


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


def _engine(path: Path, begin: str, *, connections: int) -> AsyncEngine:
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


class _Cursor(Protocol):
    def execute(self, statement: str) -> object: ...
    def close(self) -> None: ...


class _SqliteConnection(Protocol):
    isolation_level: str | None

    def cursor(self) -> _Cursor: ...


class _SqlConnection(Protocol):
    def exec_driver_sql(self, statement: str) -> object: ...
