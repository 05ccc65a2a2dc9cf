"""Registered models in the database. Every change of what is served moves the revision on, in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, case, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.registry.rows import Model
from proxy.registry.uses import Counts
from proxy.storage.database import Database
from proxy.storage.tables import MODELS, REVISIONS

NAME = "models"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All rows at one moment, the oldest first. changed: when a row last was; None = never."""

    revision: int
    changed: datetime | None
    rows: tuple[Model, ...]


class ModelStore:
    """Owner of the rows. Raises StorageUnavailable from every method."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def revision(self) -> int:
        """The number of the last change of what is served; 0 = there was none."""
        async with self._database.read() as tx:
            found = await tx.scalar(select(REVISIONS.c.number).where(REVISIONS.c.name == NAME))
        return found or 0

    async def all(self) -> Snapshot:
        """Every row."""
        async with self._database.read() as tx:
            return await _snapshot(tx)

    async def get(self, model_id: str) -> Model | None:
        """One row."""
        async with self._database.read() as tx:
            row = (await tx.execute(select(MODELS).where(MODELS.c.model_id == model_id))).one_or_none()
        return None if row is None else _model(row)

    async def add(self, model: Model) -> bool:
        """Register a model; False when there is one of this id. Notes on a model that once was configured give way."""
        async with self._database.write() as tx:
            old = (MODELS.c.model_id == model.model_id) & (MODELS.c.source == "configuration")
            await tx.execute(delete(MODELS).where(old))
            added = await _insert(tx, model)
            if added:
                await _changed(tx, model.added)
        return added

    async def update(
        self, model_id: str, changes: Mapping[str, object], now: datetime, configured: Model | None
    ) -> Model | None:
        """Change fields of a model; None when there is none. configured: what it is by configuration."""
        async with self._database.write() as tx:
            statement = update(MODELS).where(MODELS.c.model_id == model_id).values(**changes)
            if configured is None:
                statement = statement.where(MODELS.c.source == "registry")
            else:
                await _insert(tx, configured)
            row = (await tx.execute(statement.returning(MODELS))).one_or_none()
            if row is not None:
                await _changed(tx, now)
        return None if row is None else _model(row)

    async def remove(self, model_id: str, now: datetime) -> Snapshot | None:
        """Forget a model; what is left, or None when there was none."""
        async with self._database.write() as tx:
            found = (MODELS.c.model_id == model_id) & (MODELS.c.source == "registry")
            if not (await tx.execute(delete(MODELS).where(found))).rowcount:
                return None
            await _changed(tx, now)
            return await _snapshot(tx)

    async def used(self, uses: Counts, configured: Mapping[str, Model]) -> None:
        """Count uses. Models that are gone are passed over."""
        async with self._database.write() as tx:
            # In one order everywhere: two proxies that count the same models do not wait for each other in a circle.
            for model_id, (count, last) in sorted(uses.items()):
                if model_id in configured:
                    await _insert(tx, configured[model_id])
                values = {
                    "usage_count": MODELS.c.usage_count + count,
                    "last_used": case((MODELS.c.last_used > last, MODELS.c.last_used), else_=last),
                }
                await tx.execute(update(MODELS).where(MODELS.c.model_id == model_id).values(**values))


async def _insert(tx: AsyncConnection, model: Model) -> bool:
    """Write a row, unless there is one of this id."""
    insert = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
    statement = insert(MODELS).values(
        model_id=model.model_id,
        name=model.name,
        model_type=model.model_type,
        description=model.description,
        parameters=dict(model.parameters),
        status=model.status,
        source=model.source,
        added_date=model.added,
        last_used=model.last_used,
        usage_count=model.usage_count,
    )
    written = statement.on_conflict_do_nothing().returning(MODELS.c.model_id)
    return (await tx.execute(written)).one_or_none() is not None


async def _changed(tx: AsyncConnection, now: datetime) -> None:
    insert = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
    statement = insert(REVISIONS).values(name=NAME, number=1, changed=now)
    another = {"number": REVISIONS.c.number + 1, "changed": now}
    await tx.execute(statement.on_conflict_do_update(index_elements=[REVISIONS.c.name], set_=another))


async def _snapshot(tx: AsyncConnection) -> Snapshot:
    revision = (await tx.execute(select(REVISIONS).where(REVISIONS.c.name == NAME))).one_or_none()
    order = (MODELS.c.added_date, MODELS.c.model_id)
    rows = tuple(_model(row) for row in await tx.execute(select(MODELS).order_by(*order)))
    moments = [row.last_used for row in rows if row.last_used is not None]
    if revision is None:
        return Snapshot(0, max(moments, default=None), rows)
    return Snapshot(revision.number, max([revision.changed, *moments]), rows)


def _model(row: Row[tuple[object, ...]]) -> Model:
    return Model(
        model_id=row.model_id,
        name=row.name,
        model_type=row.model_type,
        description=row.description,
        parameters=row.parameters,
        status=row.status,
        source=row.source,
        added=row.added_date,
        last_used=row.last_used,
        usage_count=row.usage_count,
    )
