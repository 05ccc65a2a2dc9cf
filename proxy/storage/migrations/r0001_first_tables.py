"""The first tables: models, sessions, chats and their messages.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "models",
        sa.Column("model_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("model_type", sa.String, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("added_date", time, nullable=False),
        sa.Column("last_used", time),
        sa.Column("usage_count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("model_id", name="pk_models"),
    )
    op.create_table(
        "revisions",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("changed", time, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_revisions"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("created", time, nullable=False),
        sa.Column("updated", time, nullable=False),
        sa.Column("last_seen", time, nullable=False),
        sa.Column("expires", time, nullable=False),
        sa.Column("said", sa.JSON, nullable=False),
        sa.Column("staged", sa.JSON),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
    )
    op.create_index("ix_sessions_expires", "sessions", ["expires"])
    op.create_index("ix_sessions_owner", "sessions", ["owner"])
    op.create_table(
        "chats",
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("chat_id", sa.String, nullable=False),
        sa.Column("created", time, nullable=False),
        sa.Column("updated", time, nullable=False),
        sa.PrimaryKeyConstraint("owner", "chat_id", name="pk_chats"),
    )
    op.create_index("ix_chats_owner_updated", "chats", ["owner", "updated"])
    op.create_table(
        "messages",
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("chat_id", sa.String, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("content", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("model", sa.String),
        sa.Column("created", time, nullable=False),
        sa.PrimaryKeyConstraint("owner", "chat_id", "position", name="pk_messages"),
        sa.ForeignKeyConstraint(
            ["owner", "chat_id"], ["chats.owner", "chats.chat_id"], name="fk_messages_chats", ondelete="CASCADE"
        ),
    )
