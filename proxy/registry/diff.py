"""What a new configuration changes: two registries in; what came, what went and what is different, in words, out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from backends.base import EngineSpec
from proxy.registry.models import Registry

SECRETS = frozenset({"key", "command"})
UNSEEN = "(not shown)"
Name = TypeVar("Name", bound=str)
NO_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What became of things of one kind, by name. changed: name -> each field that differs, as `field: old -> new`."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: NO_WORDS)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What became of engines, their limits, models, API keys, and the default model of each task. False where nothing did."""

    engines: Changes
    models: Changes
    defaults: Changes
    limits: Changes = Changes()
    keys: Changes = Changes()

    def __bool__(self) -> bool:
        return bool(self.engines or self.models or self.defaults or self.limits or self.keys)

    def words(self) -> list[str]:
        """One line for each thing that is not as it was."""
        kinds = (
            ("engine", self.engines),
            ("limit of engine", self.limits),
            ("model", self.models),
            ("default", self.defaults),
            ("key", self.keys),
        )
        return [line for kind, changes in kinds for line in _lines(kind, changes)]


def diff(old: Registry, new: Registry) -> Diff:
    """What it takes to get from the old registry to the new one. Secrets are named, and never shown."""
    return Diff(
        engines=_changes(_engines(old), _engines(new)),
        models=_changes({each.name: each for each in old.models}, {each.name: each for each in new.models}),
        defaults=_changes(old.defaults, new.defaults),
        limits=_changes(old.limits, new.limits),
        keys=_changes(old.keys, new.keys),
    )


@dataclass(frozen=True, slots=True)
class _Engine:
    spec: EngineSpec
    drain: bool


def _engines(registry: Registry) -> dict[str, _Engine]:
    return {name: _Engine(spec, name in registry.drained) for name, spec in registry.engines.items()}


def _changes(old: Mapping[Name, object], new: Mapping[Name, object]) -> Changes:
    both = {name: _differences(old[name], new[name]) for name in old if name in new}
    return Changes(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed={name: said for name, said in both.items() if said},
    )


class _Leaf(NamedTuple):
    """A plain value. secret: it may be a key, or hold one as environments and commands do."""

    value: object
    secret: bool = False

    def __str__(self) -> str:
        match self.value:
            case None | "" | ():
                return "none"
            case _ if self.secret:
                return UNSEEN
            case bool():
                return str(self.value).lower()
            case tuple():
                return ", ".join(map(str, self.value))
        return str(self.value)


ABSENT = _Leaf(None)


def _differences(old: object, new: object) -> tuple[str, ...]:
    before, after = dict(_leaves(old)), dict(_leaves(new))
    pairs = ((path, before.get(path, ABSENT), after.get(path, ABSENT)) for path in dict.fromkeys([*before, *after]))
    return tuple(f"{_named(path)}{was} -> {now}" for path, was, now in pairs if was != now)


def _named(path: tuple[str, ...]) -> str:
    """Where a value stands, as the file says it."""
    within = [part for part in path if part != "spec"]
    return f"{'.'.join(within)}: " if within else ""


def _leaves(
    value: object, path: tuple[str, ...] = (), *, secret: bool = False
) -> Iterable[tuple[tuple[str, ...], _Leaf]]:
    """Every plain value within, by where it stands: `timeouts.idle`."""
    if is_dataclass(value):
        for each in fields(value):
            yield from _leaves(getattr(value, each.name), (*path, each.name), secret=secret or each.name in SECRETS)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, (*path, str(name)), secret=True)
    elif isinstance(value, tuple) and any(is_dataclass(item) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, (*path, str(number)), secret=secret)
    else:
        yield path, _Leaf(value, secret)


def _lines(kind: str, changes: Changes) -> Iterable[str]:
    yield from (f"{kind} {name}: added" for name in changes.added)
    yield from (f"{kind} {name}: removed" for name in changes.removed)
    yield from (f"{kind} {name}: {'; '.join(said)}" for name, said in changes.changed.items())
