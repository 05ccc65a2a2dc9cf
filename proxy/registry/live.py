"""The models that are served right now: the configured ones and the registered ones, kept together as rows change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from backends.inprocess.ids import is_directory, is_model_id
from proxy.registry.models import Registry
from proxy.registry.rows import Model, configured_models, merged, together
from proxy.registry.uses import Counts, Uses
from proxy.storage.database import Database, Stored
from proxy.storage.errors import StorageUnavailable

if TYPE_CHECKING:
    from proxy.registry.store import ModelStore

MODEL_STORE = "proxy.registry.store:ModelStore"

LOOK_SECONDS = 1.0
"""How often a proxy looks whether another one changed rows."""
AWAY_SECONDS = 5.0
"""The same, while the database is away."""
START_SECONDS = 3.0
"""How long the start waits for rows; without them the configured models serve."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All models at one moment. changed: when any of them last was."""

    models: tuple[Model, ...]
    changed: datetime


class LiveRegistry:
    """Owner of what is served. publish: told of every new registry. Methods that need rows raise StorageUnavailable.

    Other proxies' changes are seen within LOOK_SECONDS, by a number that every change moves on.
    """

    def __init__(
        self,
        configured: Registry,
        database: Database,
        publish: Callable[[Registry], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._registry = configured
        self._since = clock()
        self._configured = configured_models(configured, self._since)
        self._aliases = _aliases(configured)
        self._rows: tuple[Model, ...] = ()
        self._database = database
        self._store: Stored[ModelStore] = Stored(database, MODEL_STORE)
        self._publish = publish
        self._clock = clock
        self._known = dict(self._configured)
        self._revision = 0
        self._reading = asyncio.Lock()
        self._uses = Uses(self._count)
        self._looking: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("registry")

    # ------------------------------------------------------------------ reading

    async def all(self) -> Listing:
        """Every model: the configured ones first, then those that were added, the oldest first."""
        if not await self._database.present():
            return Listing(tuple(self._configured.values()), self._since)
        snapshot = await (await self._store.get()).all()
        return self._listing(snapshot.rows, snapshot.changed)

    async def get(self, model_id: str) -> Model | None:
        """A model as its row says now."""
        row = await (await self._store.get()).get(model_id) if await self._may_be_kept(model_id) else None
        found = together(self._configured, () if row is None else (row,))
        return next((model for model in found if model.model_id == model_id), None)

    async def known(self, model_id: str) -> Model | None:
        """A model as this proxy last saw it, by id or configured alias; rows are asked only for one that it never saw."""
        found = self.seen(model_id)
        if found is None and is_model_id(model_id):
            await self._look()
            found = self.seen(model_id)
        return found

    def seen(self, model_id: str) -> Model | None:
        """A model as this proxy last saw it, by id or configured alias, whatever the rows say by now."""
        return self._known.get(model_id) or self._known.get(self._aliases.get(model_id, ""))

    def is_configured(self, model_id: str) -> bool:
        """Whether the model is part of the configuration."""
        return model_id in self._configured

    # ------------------------------------------------------------------ changing

    async def add(self, model: Model) -> bool:
        """Register a model, and serve it; False when there is one of this id."""
        if model.model_id in self._configured or not await (await self._store.get()).add(model):
            return False
        await self._changed()
        return True

    async def update(self, model_id: str, changes: Mapping[str, object]) -> Model | None:
        """Change fields of a model: name, model_type, description, parameters, status, last_used. None when there is none."""
        configured = self._configured.get(model_id)
        if configured is None and not await self._may_be_kept(model_id):
            return None
        row = await (await self._store.get()).update(model_id, changes, self._clock(), configured)
        if row is not None:
            await self._changed()
        return row

    async def remove(self, model_id: str) -> Listing | None:
        """Forget a model that was added; what is left, or None when there was none."""
        if not await self._may_be_kept(model_id):
            return None
        left = await (await self._store.get()).remove(model_id, self._clock())
        if left is None:
            return None
        await self._changed()
        return self._listing(left.rows, left.changed)

    def configure(self, registry: Registry, talking: frozenset[str]) -> None:
        """Serve another configuration from now on, and the same rows beside it. talking: as talking() says of it."""
        now, before = self._clock(), self._configured
        models = configured_models(registry, now, talking)
        self._configured = {
            name: replace(model, added=before[name].added) if name in before else model
            for name, model in models.items()
        }
        self._registry, self._since, self._aliases = registry, now, _aliases(registry)
        self._serve()

    async def used(self, model_id: str) -> None:
        """Count one use of a model, now or when the database is back."""
        await self._uses.add(model_id, self._clock())

    # ------------------------------------------------------------------ living

    async def start(self) -> None:
        """Serve the rows that are there, and go on looking for changes."""
        made_for_chats = await asyncio.to_thread(talking, self._registry)
        self._configured = configured_models(self._registry, self._since, made_for_chats)
        self._known = dict(self._configured)
        self._looking = asyncio.create_task(self._keep_looking(), name="look for changed models")
        first = asyncio.create_task(self._look(), name="read models")
        await asyncio.wait({first}, timeout=START_SECONDS)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    async def close(self) -> None:
        """Count what is still to be counted, and look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._uses.close()

    async def _may_be_kept(self, model_id: str) -> bool:
        """Whether there may be a row of this id; of what can be no id, none is asked for."""
        return (is_model_id(model_id) or model_id in self._configured) and await self._database.present()

    async def _keep_looking(self) -> None:
        pause = LOOK_SECONDS
        while True:
            await asyncio.sleep(pause)
            try:
                await self._look()
                await self._uses.again()
                pause = LOOK_SECONDS
            except StorageUnavailable:
                pause = AWAY_SECONDS
            except Exception:
                self._log.exception("looking for changed models failed")
                pause = AWAY_SECONDS

    async def _look(self) -> None:
        """Read the rows if they have changed since."""
        if not await self._database.present():
            return
        store = await self._store.get()
        if await store.revision() != self._revision:
            await self._read()

    async def _read(self) -> None:
        # One after another: an older state never comes after a newer one.
        async with self._reading:
            snapshot = await (await self._store.get()).all()
            self._revision, self._rows = snapshot.revision, snapshot.rows
            self._serve()

    def _serve(self) -> None:
        models = together(self._configured, self._rows)
        self._known = {model.model_id: model for model in models}
        self._publish(merged(self._registry, models))

    async def _changed(self) -> None:
        """Serve what this proxy has just written. If the rows cannot be read now, the next look finds them."""
        with suppress(StorageUnavailable):
            await self._read()

    async def _count(self, uses: Counts) -> None:
        await (await self._store.get()).used(uses, self._configured)

    def _listing(self, rows: tuple[Model, ...], changed: datetime | None) -> Listing:
        return Listing(tuple(together(self._configured, rows)), changed or self._since)


def _aliases(registry: Registry) -> dict[str, str]:
    return {alias: entry.name for entry in registry.models for alias in entry.aliases}


def talking(registry: Registry) -> frozenset[str]:
    """Models for text in directories of this machine that come with a template for chats: they are asked, not continued.

    It looks for files.
    """
    local = (entry for entry in registry.models if entry.task == "text" and is_directory(entry.spec.source))
    return frozenset(entry.name for entry in local if Path(entry.spec.source, "chat_template.jinja").is_file())
