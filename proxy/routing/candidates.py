"""Which of a model's replicas may get a request, by their health; and what is said where none may. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backends.errors import Unavailable
from proxy.registry.models import ModelEntry
from proxy.routing.fleet import Choice
from proxy.routing.health import End, State, last_resort, ready


def settle_trials(choices: Sequence[Choice], now: float) -> None:
    """What was ejected because nothing accepted connections there serves again when a request's connection stands."""
    for choice in choices:
        health = choice.replica.health
        if health.state is State.TRIAL and health.kind is End.GONE and choice.replica.connected(now):
            health.proved(now, health.epoch)


def allowed(choices: Sequence[Choice], now: float, *, again: bool = False) -> Sequence[Choice]:
    """Those that may get a request, of the best priority that has any; empty where none may."""
    fit = [choice for choice in choices if choice.target.spec.source not in choice.replica.identity.wrong]
    for priority in sorted({choice.target.priority for choice in fit}):
        level = [choice for choice in fit if choice.target.priority == priority]
        chosen = ready([choice.replica.health for choice in level], now, trials=not again)
        if chosen:
            return [level[index] for index in chosen]
    return [] if again else [fit[index] for index in last_resort([choice.replica.health for choice in fit], now)]


def none_serves(entry: ModelEntry, choices: Sequence[Choice], now: float) -> Unavailable:
    """What the caller is told: why each replica is out, and when one of them is tried again."""
    waits = [
        choice.replica.health.alone_in(now)
        for choice in choices
        if choice.target.spec.source not in choice.replica.identity.wrong
    ]
    waits = waits or [choice.replica.health.rules.check for choice in choices]
    said = ", ".join(_said(choice, now) for choice in choices)
    return Unavailable(f"No replica of `{entry.name}` can serve now: {said}.", retry_after=max(1.0, min(waits)))


def trouble(entry: ModelEntry, choices: Sequence[Choice], now: float) -> str | None:
    """Why no replica serves the model now; None where one does, or where it needs none."""
    wrong = [choice.target.spec.source in choice.replica.identity.wrong for choice in choices]
    out = [choice.replica.health.out for choice in choices]
    all_out = choices and all(each or other for each, other in zip(wrong, out, strict=True))
    return none_serves(entry, choices, now).message if all_out else None


def _said(choice: Choice, now: float) -> str:
    replica = choice.replica
    wrong = replica.identity.wrong.get(choice.target.spec.source)
    if wrong is not None:
        return f"{replica.name} ({wrong})"
    if replica.health.state is State.TRIAL:
        return f"{replica.name} (on trial: {replica.health.reason})"
    wait = replica.health.alone_in(now)
    return f"{replica.name} ({replica.health.state}: {replica.health.reason}, next trial in {max(wait, 0.1):.1f} s)"
