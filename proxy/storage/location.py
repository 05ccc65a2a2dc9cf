"""Which database: a file of our own, or a PostgreSQL server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from proxy.settings import Settings

FILE_NAME = "switchboard.sqlite3"


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A SQLite database."""

    path: Path


@dataclass(frozen=True, slots=True)
class Postgres:
    """A PostgreSQL database. url: as libpq reads it; it may hold a password."""

    url: str = field(repr=False)


Location: TypeAlias = SqliteFile | Postgres


def locate(settings: Settings) -> Location:
    """Where the settings say that rows are kept: a file in the data directory, unless they name another place."""
    if settings.database_url is None:
        return SqliteFile(settings.data / FILE_NAME)
    scheme, _, rest = settings.database_url.get_secret_value().partition("://")
    if scheme == "sqlite":
        return SqliteFile(Path(rest.removeprefix("/")).expanduser())
    return Postgres(f"postgresql://{rest}")
