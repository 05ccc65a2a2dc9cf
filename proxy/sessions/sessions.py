"""Sessions in use: made, changed, named by requests, ended. Who asks for them gets what holds now."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from backends.inprocess.cuda import device_count
from backends.translation.languages import read_table
from backends.types import Json, JsonObject
from proxy.errors import ApiError, ErrorCode
from proxy.registry.catalog import Catalog
from proxy.registry.models import ModelEntry
from proxy.sessions.chosen import TASKS, Chosen, Restart, Surroundings
from proxy.sessions.config import ModelConfig, check_change, with_nulls
from proxy.sessions.effect import transcribe_defaults, translate_defaults
from proxy.sessions.limits import Machine
from proxy.sessions.merge import merged
from proxy.sessions.placing import compute_of
from proxy.sessions.preferences import NO_PREFERENCES, Preferences
from proxy.sessions.values import Session
from proxy.storage.database import Stored

if TYPE_CHECKING:
    from proxy.sessions.store import SessionStore

STORE = "proxy.sessions.store:SessionStore"
SHAPE = re.compile("sess_[0-9a-f]{32}")

# A session that was named so recently (of the time for which it may be idle) is not written to again.
STILL_FRESH = 0.05


@dataclass(frozen=True, slots=True)
class Configured:
    """A session after a change. applied: what holds for requests is another now; config: as changed, also where that is staged."""

    session: Session
    applied: bool
    config: ModelConfig
    restart: Restart


class Sessions:
    """Owner of the sessions. Every method raises StorageUnavailable while the database is away.

    keyed: whether the door asks for API keys, each of which has sessions of its own; idle: seconds after which a session
    that nobody names ends; most: sessions that one owner may have.
    """

    def __init__(
        self,
        stored: Stored[SessionStore],
        chosen: Chosen,
        catalog: Callable[[], Awaitable[Catalog]],
        *,
        keyed: bool,
        idle: float,
        most: int,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stored = stored
        self._chosen = chosen
        self._catalog = catalog
        self._keyed = keyed
        self._idle = timedelta(seconds=idle)
        self._most = most
        self._clock = clock
        self._known: Surroundings | None = None

    def owner(self, authorization: str | None) -> str:
        """Whose the sessions are that come with this `Authorization`: its key's, by digest; "" on a door without keys."""
        if not self._keyed:
            return ""
        key = (authorization or "").partition(" ")[2].strip()
        return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()

    async def create(self, owner: str, change: Mapping[str, Json]) -> Session:
        """A new session that says `change`. Raises INVALID, MODEL_NOT_FOUND, ..., and OVERLOADED where there are too many."""
        said = await self._changed({}, change)
        now = self._clock()
        session = Session(
            id=f"sess_{secrets.token_hex(16)}",
            owner=owner,
            created=now,
            updated=now,
            last_seen=now,
            expires=now + self._idle,
            said=said,
        )
        store = await self._stored.get()
        if not await store.add(session, most=self._most):
            message = f"There are {self._most} sessions already; delete some, or let them expire."
            raise ApiError(ErrorCode.OVERLOADED, message, retry_after=60)
        return session

    async def get(self, owner: str, sid: str) -> Session:
        """The session, as named by somebody now. Raises NOT_FOUND, also for those of others."""
        store = await self._stored.get()
        now = self._clock()
        session = await store.get(owner, sid, now) if SHAPE.fullmatch(sid) else None
        if session is None:
            raise _unknown(sid)
        if session.expires - now < self._idle * (1 - STILL_FRESH):
            session = replace(session, last_seen=now, expires=now + self._idle)
            await store.seen(sid, session.last_seen, session.expires)
        return session

    async def all(self, owner: str) -> Sequence[Session]:
        """The owner's sessions, oldest first."""
        return await (await self._stored.get()).all(owner, self._clock())

    async def end(self, owner: str, sid: str) -> None:
        """No more of this session. Raises NOT_FOUND."""
        store = await self._stored.get()
        if not (SHAPE.fullmatch(sid) and await store.remove(owner, sid, self._clock())):
            raise _unknown(sid)

    async def end_all(self, owner: str) -> Sequence[str]:
        """No more of any of the owner's. Returns their ids."""
        return await (await self._stored.get()).remove(owner, None, self._clock())

    async def configure(self, owner: str, sid: str, change: Mapping[str, Json], *, immediately: bool) -> Configured:
        """Lay a change over what the session says: now, with all that is staged; or staged, until the next connection.

        Raises NOT_FOUND, and what create() does for a wrong change, which leaves everything as it was.
        """
        here = await self._surroundings()
        now = self._clock()

        def changed(session: Session) -> Session:
            said = self._laid_over(_latest(session), change, here)
            staged = None if immediately or said == session.said else said
            after = replace(session, said=said if immediately else session.said, staged=staged)
            updated = session.updated if after == session else now
            return replace(after, updated=updated, last_seen=now, expires=now + self._idle)

        before, after = await self._rewritten(owner, sid, now, changed)
        latest = _latest(after)
        restart = self._chosen.restart(before.said, latest, here)
        return Configured(after, before.said != after.said, self._chosen.config(latest, here), restart)

    async def connect(self, owner: str, sid: str) -> Configured | None:
        """A connection begins: what is staged holds from now on; None where nothing is. Raises NOT_FOUND."""
        session = await self.get(owner, sid)
        if session.staged is None:
            return None

        def begun(session: Session) -> Session:
            return replace(session, said=_latest(session), staged=None)

        here = await self._surroundings()
        before, after = await self._rewritten(owner, sid, self._clock(), begun)
        restart = self._chosen.restart(before.said, after.said, here)
        return Configured(after, before.said != after.said, self._chosen.config(after.said, here), restart)

    async def config(self, said: Mapping[str, Json]) -> ModelConfig:
        """The whole configuration of a session that says this."""
        return self._chosen.config(said, await self._surroundings())

    async def preferences(self, owner: str, sid: str | None) -> Preferences:
        """What holds for a request that names this session (None: no session). Raises NOT_FOUND."""
        if sid is None:
            return NO_PREFERENCES
        session = await self.get(owner, sid)
        here = await self._surroundings()
        config = self._chosen.config(session.said, here)
        return Preferences(
            session=session,
            models=self._chosen.named(session.said, here),
            transcribe=transcribe_defaults(config.asr),
            translate=translate_defaults(config.mt),
            compute={task: compute_of(f"{service}.compute_config", session.said) for service, task in TASKS.items()},
            said=session.said,
        )

    async def placed(self, entry: ModelEntry, preferences: Preferences) -> ModelEntry:
        """The model, computed as the session wants it: a load of its own where that differs. Raises UNSUPPORTED."""
        wanted = preferences.compute.get(entry.task)
        return entry if wanted is None else self._chosen.place(entry, wanted, await self._surroundings())

    async def _rewritten(
        self, owner: str, sid: str, now: datetime, change: Callable[[Session], Session]
    ) -> tuple[Session, Session]:
        store = await self._stored.get()
        found = await store.change(owner, sid, now, change) if SHAPE.fullmatch(sid) else None
        if found is None:
            raise _unknown(sid)
        return found

    async def _changed(self, said: JsonObject, change: Mapping[str, Json]) -> JsonObject:
        return self._laid_over(said, change, await self._surroundings())

    def _laid_over(self, said: JsonObject, change: Mapping[str, Json], here: Surroundings) -> JsonObject:
        check_change(change)
        result = merged(said, with_nulls(change))
        self._chosen.config(result, here)
        for service in TASKS:
            if service in change:
                self._chosen.check(service, result, here)
        return result

    async def _surroundings(self) -> Surroundings:
        if self._known is None:
            # Asking the driver takes a while, and files are read.
            machine, codes = await asyncio.to_thread(_machine), await asyncio.to_thread(read_table)
            self._known = Surroundings(machine, await self._catalog(), codes)
        return self._known


def _machine() -> Machine:
    return Machine(cuda=device_count() > 0, cores=len(os.sched_getaffinity(0)))


def _latest(session: Session) -> JsonObject:
    return session.said if session.staged is None else session.staged


def _unknown(sid: str) -> ApiError:
    message = f"There is no session `{sid[:100]}`: it has expired, was deleted, or never was. Make one with POST /api/sessions."
    return ApiError(ErrorCode.NOT_FOUND, message, param="session_id")
