"""Which line a model's requests stand in, and how many slots there are: from the configuration, and from replicas as they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from backends import REMOTE
from proxy.registry.models import ModelEntry, Registry
from proxy.routing.queue import NO_LIMIT, Line, Pool
from proxy.settings import Settings

EACH: Mapping[str, int] = {"tgi": 128}
"""Requests that a replica of an engine of this kind takes at once, where nobody says: TGI refuses more than 128 by itself."""
EACH_ELSE = 256
"""The same of other kinds: vLLM's own `max_num_seqs` on most GPUs; what it gets beyond, it queues out of our reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds where the configuration file says nothing. each: slots of a replica elsewhere; most: that may wait for an engine.

    None = what suits the kind of engine, and as many as there are slots. patience: the longest wait in seconds; max_bytes: of
    all bodies that wait.
    """

    each: int | None = None
    most: int | None = None
    patience: float = 30.0
    max_bytes: int = 256_000_000


def queue_rules(settings: Settings) -> Rules:
    """The settings, as admission reads them."""
    return Rules(
        each=settings.max_in_flight,
        most=settings.max_queued,
        patience=settings.queue_seconds,
        max_bytes=int(settings.max_queued_mb * 1e6),
    )


class Lines:
    """Owner of the pools and the lines. usable: how many replicas of an engine take requests now."""

    def __init__(self, rules: Rules, usable: Callable[[str], int]) -> None:
        self._rules = rules
        self._usable = usable
        self._pools: dict[str, Pool] = {}
        self._lines: dict[tuple[tuple[str, ...], str], Line] = {}
        self._of_models: dict[tuple[str, str], Line] = {}
        self._of_engines: dict[str, Line] = {}

    @property
    def pools(self) -> Collection[Pool]:
        """All of them, those without a limit included."""
        return self._pools.values()

    def of(self, entry: ModelEntry) -> Line | None:
        """The line of a model; None where nothing limits it."""
        return self._of_models.get((entry.engine, entry.name)) or self._of_engines.get(entry.engine)

    def serve_from(self, registry: Registry) -> None:
        """Engines, models and their limits are those of this registry from now on; a line that goes on keeps who waits in it."""
        for name in registry.engines:
            each = self._each(registry, name)
            self._pools.setdefault(name, Pool(name, each)).each = each
        limited = [name for name in registry.engines if self._pools[name].each < NO_LIMIT]
        self._of_engines = {name: self._line((name,)) for name in limited}
        self._of_models = {}
        for entry in registry.models:
            engines = tuple(dict.fromkeys(target.engine for target in entry.targets)) or (entry.engine,)
            own = entry.max_in_flight is not None or entry.max_queued is not None
            if own or not self._of_engines.keys().isdisjoint(engines):
                self._of_models[entry.engine, entry.name] = self._line(engines, entry if own else None)
        self._forget(registry)
        for pool in self.pools:
            self.measure(pool)

    def measure(self, pool: Pool) -> None:
        """See how many slots its replicas have now."""
        # An engine of which no replica takes requests has the slots of one: those who get them learn at once what is wrong,
        # or wait while it starts.
        pool.limit = pool.each * max(1, self._usable(pool.name)) if pool.each < NO_LIMIT else NO_LIMIT

    def _each(self, registry: Registry, engine: str) -> int:
        """Slots of one replica. Pipelines of this process batch and queue by themselves: only what is said limits them."""
        kind = registry.engines[engine].kind
        slots = registry.limits.get(engine)
        if slots is None and kind in REMOTE:
            slots = EACH.get(kind, EACH_ELSE) if self._rules.each is None else self._rules.each
        return slots or NO_LIMIT

    def _line(self, engines: tuple[str, ...], own: ModelEntry | None = None) -> Line:
        """The line for these engines, or of a model with limits of its own, with the limits as they are now."""
        key = engines, "" if own is None else own.name
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(tuple(self._pools[name] for name in engines))
        line.limit, line.most = NO_LIMIT, self._rules.most
        if own is not None:
            line.limit = own.max_in_flight or NO_LIMIT
            line.most = self._rules.most if own.max_queued is None else own.max_queued
        return line

    def _forget(self, registry: Registry) -> None:
        """Drop what is configured no more, and empty."""
        used = {*self._of_models.values(), *self._of_engines.values()}
        for key, line in [*self._lines.items()]:
            if line not in used and not line.in_flight and not line.turns:
                del self._lines[key]
                for pool in line.pools:
                    pool.lines.remove(line)
        self._pools = {name: pool for name, pool in self._pools.items() if pool.lines or name in registry.engines}
