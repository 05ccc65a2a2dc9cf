"""The database as the rest of the proxy sees it: reading and writing transactions, opened when first needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import structlog

from proxy.storage.errors import StorageUnavailable
from proxy.storage.location import Location, SqliteFile

if TYPE_CHECKING:
    # Importing SQLAlchemy costs 35 MB, which a proxy that keeps no rows does not spend.
    from sqlalchemy.ext.asyncio import AsyncConnection

    from proxy.storage.engine import Engine


T = TypeVar("T")


class Database:
    """Owner of the connections. No I/O before the first transaction; one that fails to open is tried again by the next."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._engine: Engine | None = None
        self._opening: asyncio.Task[Engine] | None = None
        self._log = structlog.get_logger("database")

    async def present(self) -> bool:
        """Whether there may be rows: a SQLite file that does not exist has none, and need not be made to learn that."""
        if self._engine is not None or not isinstance(self._location, SqliteFile):
            return True
        return await asyncio.to_thread(self._location.path.exists)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads. Within it, nothing but its statements. Raises StorageUnavailable."""
        engine = await self._opened()
        async with self._told(), engine.read() as transaction:
            yield transaction

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is kept, whole, when the block ends, and not at all when it raises.

        Within it, nothing but its statements: SQLite has one writer, and others wait. Raises StorageUnavailable, and
        sqlalchemy.exc.IntegrityError where a row breaks a rule of its table.
        """
        engine = await self._opened()
        async with self._told(), engine.write() as transaction:
            yield transaction

    async def close(self) -> None:
        """Give the connections back."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._engine is not None:
            await self._engine.close()
            self._engine = None

    async def _opened(self) -> Engine:
        """The engine; all who come while it opens wait for the same attempt."""
        if self._engine is not None:
            return self._engine
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="open database")
            self._opening.add_done_callback(self._settle)
        async with self._told():
            return await asyncio.shield(self._opening)

    async def _open(self) -> Engine:
        # Imports take a second, and migrations are read from files: neither is for the event loop.
        module = await asyncio.to_thread(import_module, "proxy.storage.engine")
        self._engine = await module.open_engine(self._location)
        return self._engine

    def _settle(self, opening: asyncio.Task[Engine]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """Tell the operator what the caller is not told."""
        try:
            yield
        except StorageUnavailable as error:
            self._log.warning("database unavailable", cause=repr(error.__cause__))
            raise


class Stored(Generic[T]):
    """A room's store, made on first use. path: `module:Class`; the class takes the Database.

    Its module imports SQLAlchemy, so nothing imports it but this (and type checkers).
    """

    def __init__(self, database: Database, path: str) -> None:
        self._database = database
        self._path = path
        self._store: T | None = None

    async def present(self) -> bool:
        """Whether there may be rows."""
        return await self._database.present()

    async def get(self) -> T:
        """The store."""
        if self._store is None:
            module, _, name = self._path.partition(":")
            found = await asyncio.to_thread(import_module, module)
            self._store = cast("T", getattr(found, name)(self._database))
        return self._store
