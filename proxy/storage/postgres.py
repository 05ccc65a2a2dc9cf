"""Connections to a PostgreSQL server; its URL is for the driver, which knows all that libpq knows (sslmode, several hosts)."""

from __future__ import annotations

from functools import partial

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from proxy.storage.location import Postgres

CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 10.0
CONNECTIONS = 5

NO_CONNECTION = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What may come in place of a connection (TimeoutError is an OSError); drivers do not agree on whose errors those are."""


async def connect(location: Postgres) -> asyncpg.Connection:
    """A connection of one's own. Raises one of NO_CONNECTION."""
    try:
        return await asyncpg.connect(
            location.url,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            server_settings={"application_name": "switchboard"},
        )
    except (ValueError, OverflowError):
        # Said without the driver's words, which may quote the password.
        raise asyncpg.InterfaceError(
            "SWITCHBOARD_DATABASE_URL cannot be read: look at its host, port and options"
        ) from None


def make_engine(location: Postgres) -> AsyncEngine:
    """What reads and writes. It connects when it is used."""
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=partial(connect, location),
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=CONNECTIONS,
        max_overflow=CONNECTIONS,
        pool_timeout=CONNECT_SECONDS,
    )
