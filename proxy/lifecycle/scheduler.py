"""Which models load next, and which go to make room: plain values and no clock, so that it can be tested without either."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from backends.base import ModelSpec

Policy: TypeAlias = Literal["lru", "lfu", "ttl"]
Priority: TypeAlias = Literal["low", "normal", "high"]

RANKS: dict[Priority, int] = {"high": 0, "normal": 1, "low": 2}
PROMOTED_AFTER = 10.0
"""Seconds after which a load that waits counts as one priority higher."""
PATIENCE = 5.0
"""Seconds that a load waits for a place to become free by itself, before a model that is always in use is asked to leave."""


@dataclass(frozen=True, slots=True)
class Key:
    """One load: names and aliases of one checkpoint share it, pipelines of two tasks are two."""

    engine: str
    model: ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """places: most models in memory at once, pinned ones apart; idle: seconds unused after which one goes, None = never."""

    places: int = 3
    policy: Policy = "lru"
    idle: float | None = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A model in memory, or on its way in or out. Times in seconds of one clock.

    busy: requests run on it, or are about to; pinned: it keeps out of the places and never goes by itself; draining: it
    takes no new requests, so that it can go; downloading: it is on its way in, and needs no memory yet.

    outside: an engine of its own, or an adapter on one: it takes no place, and others come into memory beside it. idle: seconds
    unused after which such a one goes, None = never; cost: what it costs to have it make room; stay: seconds that it may serve
    before it is drained for others.
    """

    key: Key
    state: Literal["loading", "loaded", "unloading"]
    busy: bool = False
    pinned: bool = False
    draining: bool = False
    downloading: bool = False
    loaded_at: float = 0.0
    used_at: float = 0.0
    uses: int = 0
    memory_mb: float | None = None
    outside: bool = False
    idle: float | None = None
    cost: float = 0.0
    stay: float = 0.0

    @property
    def spare(self) -> bool:
        """Whether it may go: nobody uses it."""
        return self.state == "loaded" and not self.busy and not self.pinned


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A load that waits for its turn. outside: as for a Resident."""

    key: Key
    since: float
    priority: Priority = "normal"
    pinned: bool = False
    outside: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now. drain: models that take no new requests; again: when to ask anew if nothing happens before."""

    start: tuple[Key, ...] = ()
    evict: tuple[Key, ...] = ()
    expire: tuple[Key, ...] = ()
    drain: frozenset[Key] = frozenset()
    again: float | None = None


def plan(residents: Sequence[Resident], waiting: Iterable[Waiting], limits: Limits, now: float) -> Plan:
    """What to start, what to let go.

    One model at a time is brought into memory, whatever others download meanwhile; engines start beside it. A load that
    found no place in PATIENCE has a model drained, even one that is never idle: so whoever waits gets its turn.
    """
    here = {resident.key for resident in residents}
    line = [load for load in in_line(waiting, now) if load.key not in here]
    occupied = [resident for resident in residents if not resident.pinned and not resident.outside]
    free = max(0, limits.places - len(occupied))
    beside = tuple(load.key for load in line if load.outside)
    placed, rest = _placed([load for load in line if not load.outside], free)
    lane_free = not any(
        resident.state == "loading" and not resident.downloading and not resident.outside for resident in residents
    )

    expired = _expired(residents, limits, now)
    going = sum(resident.state == "unloading" or resident in expired for resident in occupied)
    missing = max(0, len(rest) - going)
    spare = [victim for victim in leaving_order(occupied, limits.policy) if victim.spare and victim not in expired]
    evicted = spare[:missing]
    drained = _drained(occupied, rest, missing - len(evicted), limits.policy, now)
    return Plan(
        start=(*beside, *(load.key for load in placed[: int(lane_free)])),
        evict=tuple(victim.key for victim in evicted),
        expire=tuple(resident.key for resident in expired),
        drain=drained,
        again=_again(residents, rest, limits, now),
    )


def in_line(waiting: Iterable[Waiting], now: float) -> list[Waiting]:
    """Loads in the order of their turns: by priority, which grows with the time waited, then by time."""

    def rank(load: Waiting) -> tuple[int, float]:
        return max(0, RANKS[load.priority] - int((now - load.since) / PROMOTED_AFTER)), load.since

    return sorted(waiting, key=rank)


def leaving_order(residents: Iterable[Resident], policy: Policy) -> list[Resident]:
    """Who goes first: the least recently used, the least often used, or the one that was loaded first."""

    def rank(resident: Resident) -> tuple[float, float]:
        match policy:
            case "lru":
                return resident.used_at, resident.loaded_at
            case "lfu":
                return resident.uses, resident.used_at
            case "ttl":
                return resident.loaded_at, resident.used_at

    return sorted(residents, key=rank)


def _placed(line: Iterable[Waiting], free: int) -> tuple[list[Waiting], list[Waiting]]:
    """Those of the line who have a place, and those who need one."""
    placed, rest = [], []
    for load in line:
        if load.pinned:
            placed.append(load)
        elif free:
            placed.append(load)
            free -= 1
        else:
            rest.append(load)
    return placed, rest


def _due(resident: Resident, limits: Limits) -> float | None:
    """When it has been idle for long enough to go; None = never."""
    idle = resident.idle if resident.outside else limits.idle
    return None if idle is None or not resident.spare else resident.used_at + idle


def _expired(residents: Iterable[Resident], limits: Limits, now: float) -> list[Resident]:
    return [resident for resident in residents if (due := _due(resident, limits)) is not None and now >= due]


def _drained(
    residents: Iterable[Resident], rest: Sequence[Waiting], missing: int, policy: Policy, now: float
) -> frozenset[Key]:
    """Models in use that shall go for those who waited long. One that was chosen before stays so: else none would end."""
    overdue = sum(now >= load.since + PATIENCE for load in rest)
    used = [r for r in leaving_order(residents, policy) if r.state == "loaded" and r.busy]
    used.sort(key=lambda resident: not resident.draining)
    return frozenset(resident.key for resident in used[: max(0, min(overdue, missing))])


def _again(residents: Iterable[Resident], rest: Iterable[Waiting], limits: Limits, now: float) -> float | None:
    times = [load.since + PATIENCE for load in rest]
    times += [due for resident in residents if (due := _due(resident, limits)) is not None]
    return min((time for time in times if time > now), default=None)
