"""The models that exist, by name; a registry is a value, replaced as a whole when the configuration changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from backends import REMOTE
from backends.base import EngineSpec, ModelSpec
from backends.types import Task
from proxy.caller import ApiKey

PolicyName: TypeAlias = Literal[
    "balanced", "least_in_flight", "power_of_two", "prefix_aware", "round_robin", "session_affinity"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One engine that serves a model, and what that engine calls it.

    priority: those with the lowest number serve while any of them can; weight: its share of the requests among those of one
    priority, None = all of their replicas are chosen from as one.
    """

    engine: str
    spec: ModelSpec
    weight: float | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One model: the name that clients say, the engine that serves it, and what that engine calls it.

    audio: a model for text that also listens; max_in_flight: requests it serves at once, max_queued: that wait for it, None = as
    many as its engines and the settings allow; targets: the engines that serve it, empty = the one engine alone; fallbacks:
    models that serve in its place when none of its engines can; policy: how a replica is chosen.
    """

    name: str
    engine: str
    spec: ModelSpec
    task: Task
    aliases: tuple[str, ...] = ()
    preload: bool = False
    audio: bool = False
    targets: tuple[Target, ...] = ()
    fallbacks: tuple[str, ...] = ()
    policy: PolicyName = "balanced"
    max_in_flight: int | None = None
    max_queued: int | None = None

    @property
    def served_by(self) -> tuple[Target, ...]:
        """Its targets; the one engine where none are said."""
        return self.targets or (Target(engine=self.engine, spec=self.spec),)


def at(entry: ModelEntry, target: Target) -> ModelEntry:
    """The model as one of its engines serves it, and no other."""
    if not entry.targets:
        return entry
    return replace(entry, engine=target.engine, spec=target.spec, targets=(), fallbacks=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All engines and models. defaults: the model of each task that serves when a request names none.

    assumed: tasks whose default nobody chose; retired: names of models that are registered, and served no more; limits: engine ->
    requests that each replica of it serves at once (0 = no limit), where the configuration says; keys: the API keys of the
    configuration, by name; drained: engines that take no new requests; prefix_bytes: of memory for where prompts were sent; file:
    where all this was read, None = nowhere.
    """

    engines: Mapping[str, EngineSpec] = field(default_factory=dict)
    models: tuple[ModelEntry, ...] = ()
    defaults: Mapping[Task, str] = field(default_factory=dict)
    assumed: frozenset[Task] = frozenset()
    retired: frozenset[str] = frozenset()
    limits: Mapping[str, int] = field(default_factory=dict)
    keys: Mapping[str, ApiKey] = field(default_factory=dict)
    prefix_bytes: int = 32 * 2**20
    drained: frozenset[str] = frozenset()
    file: Path | None = None

    def in_process(self, entry: ModelEntry) -> bool:
        """Whether the model runs here, not on an engine elsewhere."""
        return self.engines[entry.engine].kind not in REMOTE

    def names(self) -> dict[str, ModelEntry]:
        """Every name and alias -> its model; the alias `*` stands for any name not listed."""
        return {name: entry for entry in self.models for name in (entry.name, *entry.aliases)}
