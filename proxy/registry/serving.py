"""Which engines serve a model, with which shares, and which models step in for it: the file's tables, checked and made values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from backends import REMOTE
from backends.base import EngineSpec, ModelSpec
from proxy.registry.models import ModelEntry, Target
from proxy.registry.schema import ModelTable
from proxy.registry.toml_lines import Refused

WILDCARD = "*"


def engines_of(table: ModelTable, number: int, engines: Mapping[str, EngineSpec]) -> list[EngineSpec]:
    """The engines that a model names, in order. Raises Refused: one is not known, or stands beside others in this process."""
    found: list[EngineSpec] = []
    for name in (table.engine,) if table.engine else [each.name for each in table.engines]:
        where = ("models", number, "engine" if table.engine else "engines")
        if name is None or name not in engines:
            raise Refused(where, f"there is no engine named {name!r} (known: {', '.join(sorted(engines))})")
        if engines[name] in found:
            raise Refused(where, f"{name!r} is named twice; give it the `weight` of both")
        found.append(engines[name])
    local = next((engine for engine in found if engine.kind not in REMOTE), None)
    if local is not None and len(found) > 1:
        message = f"{local.name!r} runs in this process: it serves a model alone, or steps in for it as a fallback"
        raise Refused(("models", number, "engines"), message)
    return found


def targets_of(table: ModelTable, number: int, spec: ModelSpec) -> tuple[Target, ...]:
    """One for each of several engines, none for a single one. spec: the model as the first engine knows it.

    Raises Refused: where one of a priority has a weight, all must.
    """
    if len(table.engines) < 2:
        return ()
    for priority in {each.priority for each in table.engines}:
        weights = [each.weight for each in table.engines if each.priority == priority]
        if None in weights and any(weights):
            bare = next(each.name for each in table.engines if each.priority == priority and each.weight is None)
            message = f"{bare!r} has no `weight`, and others of its priority have: give one to all, or to none"
            raise Refused(("models", number, "engines"), message)
    return tuple(
        Target(
            engine=each.name,
            spec=replace(spec, source=each.served_as or table.served_as or table.name),
            weight=each.weight,
            priority=each.priority,
        )
        for each in table.engines
    )


def check_fallbacks(models: Sequence[ModelEntry]) -> None:
    """Raises Refused where a model steps in that there is not, that does another task, or that waits for the first itself."""
    names = {name: entry for entry in models for name in (entry.name, *entry.aliases) if name != WILDCARD}
    steps: dict[str, list[str]] = {}
    for number, entry in enumerate(models):
        for name in entry.fallbacks:
            other = names.get(name)
            if other is None:
                raise Refused(("models", number, "fallbacks"), f"there is no model named {name!r}")
            if other.task != entry.task:
                message = f"{name!r} does {other.task}, and {entry.name!r} does {entry.task}"
                raise Refused(("models", number, "fallbacks"), message)
        steps[entry.name] = [names[name].name for name in entry.fallbacks]
    for number, entry in enumerate(models):
        if circle := _circle(entry.name, steps, ()):
            message = f"the models step in for one another in a circle: {' -> '.join(circle)}"
            raise Refused(("models", number, "fallbacks"), message)


def _circle(name: str, steps: Mapping[str, Sequence[str]], way: tuple[str, ...]) -> tuple[str, ...]:
    """The way back to where it began, if there is one."""
    if name in way:
        return (*way[way.index(name) :], name)
    return next((circle for step in steps[name] if (circle := _circle(step, steps, (*way, name)))), ())
