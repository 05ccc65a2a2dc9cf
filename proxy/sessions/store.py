"""Sessions in the database: rows of an owner, which end when nobody has named them for long enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, select, update

from proxy.sessions.values import Session
from proxy.storage.database import Database
from proxy.storage.tables import SESSIONS

Where = ColumnElement[bool]


class SessionStore:
    """Owner of the table `sessions`. Whatever a method answers is on the disk by then. All raise StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, session: Session, *, most: int) -> bool:
        """Keep a new session; False when its owner has `most` already. Those that have expired are forgotten first."""
        async with self._database.write() as transaction:
            await transaction.execute(delete(SESSIONS).where(SESSIONS.c.expires <= session.created))
            count = select(func.count()).select_from(SESSIONS).where(SESSIONS.c.owner == session.owner)
            if (await transaction.execute(count)).scalar_one() >= most:
                return False
            await transaction.execute(insert(SESSIONS).values(**_columns(session)))
            return True

    async def get(self, owner: str, sid: str, now: datetime) -> Session | None:
        """The owner's session, unless it has expired."""
        async with self._database.read() as transaction:
            row = (await transaction.execute(select(SESSIONS).where(_one(owner, sid, now)))).one_or_none()
        return None if row is None else _session(row)

    async def all(self, owner: str, now: datetime) -> Sequence[Session]:
        """The owner's sessions, oldest first."""
        mine = and_(SESSIONS.c.owner == owner, SESSIONS.c.expires > now)
        async with self._database.read() as transaction:
            rows = (
                await transaction.execute(select(SESSIONS).where(mine).order_by(SESSIONS.c.created, SESSIONS.c.id))
            ).all()
        return [_session(row) for row in rows]

    async def change(
        self, owner: str, sid: str, now: datetime, change: Callable[[Session], Session]
    ) -> tuple[Session, Session] | None:
        """The session before and after a change, which nothing comes between; None where there is no such session.

        change: must not take long; what it raises leaves the session as it was.
        """
        async with self._database.write() as transaction:
            found = select(SESSIONS).where(_one(owner, sid, now)).with_for_update()
            row = (await transaction.execute(found)).one_or_none()
            if row is None:
                return None
            before = _session(row)
            after = replace(change(before), id=before.id, owner=before.owner)
            if after != before:
                await transaction.execute(update(SESSIONS).where(SESSIONS.c.id == sid).values(**_columns(after)))
            return before, after

    async def seen(self, sid: str, now: datetime, expires: datetime) -> None:
        """Somebody has named the session now: it holds until `expires`."""
        later = and_(SESSIONS.c.id == sid, SESSIONS.c.expires < expires)
        async with self._database.write() as transaction:
            await transaction.execute(update(SESSIONS).where(later).values(last_seen=now, expires=expires))

    async def remove(self, owner: str, sid: str | None, now: datetime) -> list[str]:
        """End the session, or all of the owner's (None). Returns the ids of those that were there."""
        mine = and_(SESSIONS.c.owner == owner, SESSIONS.c.expires > now)
        which = mine if sid is None else _one(owner, sid, now)
        async with self._database.write() as transaction:
            gone = await transaction.execute(delete(SESSIONS).where(which).returning(SESSIONS.c.id))
            return list(gone.scalars())


def _one(owner: str, sid: str, now: datetime) -> Where:
    return and_(SESSIONS.c.id == sid, SESSIONS.c.owner == owner, SESSIONS.c.expires > now)


def _columns(session: Session) -> dict[str, object]:
    return {
        "id": session.id,
        "owner": session.owner,
        "created": session.created,
        "updated": session.updated,
        "last_seen": session.last_seen,
        "expires": session.expires,
        "said": session.said,
        "staged": session.staged,
    }


def _session(row: Row[tuple[object, ...]]) -> Session:
    return Session(**row._mapping)
