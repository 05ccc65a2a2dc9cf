"""All tables. A change here needs a migration beside it: a test holds the two to each other."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    types,
)

from proxy.storage.errors import Unstorable

REVISION = "0001"
"""The migration after which there are these tables."""

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


class UtcTime(types.TypeDecorator[datetime]):
    """A point in time to the microsecond: aware and in UTC, whatever the database makes of it."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse times of no known zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; write datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """SQLite forgets the zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Text(types.TypeDecorator[str]):
    """Any text without NUL characters, which PostgreSQL cannot keep. Raises Unstorable."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Refuse what only one of the databases would take."""
        if value is not None and "\x00" in value:
            raise Unstorable
        return value


# source: `registry` for models that were added, `configuration` for what was noted of a model of the configuration file.
MODELS = Table(
    "models",
    METADATA,
    Column("model_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("model_type", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("status", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("added_date", UtcTime, nullable=False),
    Column("last_used", UtcTime),
    Column("usage_count", BigInteger, nullable=False),
)

# One row for each set of rows that proxies hold in memory; its number grows with every change of the set.
REVISIONS = Table(
    "revisions",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("changed", UtcTime, nullable=False),
)

# said: what differs from the defaults; staged: the same with changes that wait for the next connection.
SESSIONS = Table(
    "sessions",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("updated", UtcTime, nullable=False),
    Column("last_seen", UtcTime, nullable=False),
    Column("expires", UtcTime, nullable=False),
    Column("said", JSON, nullable=False),
    Column("staged", JSON(none_as_null=True)),
    Index(None, "expires"),
    Index(None, "owner"),
)

CHATS = Table(
    "chats",
    METADATA,
    Column("owner", Text, primary_key=True),
    Column("chat_id", Text, primary_key=True),
    Column("created", UtcTime, nullable=False),
    Column("updated", UtcTime, nullable=False),
    Index(None, "owner", "updated"),
)

# state: complete, incomplete or streaming; model: what wrote it, None for people.
MESSAGES = Table(
    "messages",
    METADATA,
    Column("owner", Text, primary_key=True),
    Column("chat_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("role", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("model", Text),
    Column("created", UtcTime, nullable=False),
    ForeignKeyConstraint(["owner", "chat_id"], ["chats.owner", "chats.chat_id"], ondelete="CASCADE"),
)
