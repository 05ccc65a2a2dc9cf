"""Measurements in, the page that is printed out: medians over rounds, tables, ratios."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import median
from typing import TypeVar

OURS = "switchboard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of load. pause_ms: between two tokens of a stream."""

    name: str
    title: str
    mode: str
    connections: int
    pause_ms: int = 0


SCENARIOS = (
    Scenario(name="json", title="JSON answer", mode="json", connections=32),
    Scenario(name="stream", title="64 tokens flat out", mode="stream", connections=32),
    Scenario(name="paced", title="64 tokens, 5 ms apart", mode="stream", connections=64, pause_ms=5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One system under one load for one round; its float fields are figures, of which medians are taken."""

    peer: str
    scenario: str
    errors: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Measurement):
    """A measurement of a proxy. cpu_us: of its whole process tree, a request."""

    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float
    rss_mb: float


M = TypeVar("M", bound=Measurement)


def summarize(samples: Iterable[M]) -> dict[tuple[str, str], M]:
    """(peer, scenario) -> the medians over its rounds, with all errors counted."""
    rounds: dict[tuple[str, str], list[M]] = {}
    for sample in samples:
        rounds.setdefault((sample.peer, sample.scenario), []).append(sample)
    return {key: _median(found) for key, found in rounds.items()}


def _median(rounds: Sequence[M]) -> M:
    figures = [figure.name for figure in fields(rounds[0]) if figure.type == "float"]
    return replace(
        rounds[0],
        errors=sum(sample.errors for sample in rounds),
        error=next((sample.error for sample in rounds if sample.error), ""),
        **{name: median(getattr(sample, name) for sample in rounds) for name in figures},
    )


def render(
    samples: Mapping[tuple[str, str], Sample],
    peers: Sequence[str],
    scenarios: Sequence[Scenario],
    absent: Mapping[str, str],
) -> str:
    """The page in Markdown. absent: systems without figures, and why."""

    names = [scenario.name for scenario in scenarios]

    def table(figure: Callable[[Sample], str]) -> list[list[str]]:
        return cells(samples, peers, names, absent, figure)

    titles = [f"{scenario.title}, {scenario.connections} connections" for scenario in scenarios]
    cost = table(lambda sample: f"{sample.cpu_us:.0f} µs")
    for row in cost:
        row.append(memory(sample.rss_mb for (peer, _), sample in samples.items() if peer == row[0]))
    parts = [
        "CPU time of the system's process tree per request, and its memory:",
        grid(["system", *titles, "memory"], cost),
        "Latency, p50 / p99 (one core each for the system, and for engine and load together):",
        grid(["system", *titles], table(lambda sample: f"{sample.p50_ms:.1f} / {sample.p99_ms:.1f} ms")),
    ]
    if (OURS, scenarios[0].name) in samples:
        ratios = table(lambda sample: f"{sample.cpu_us / samples[OURS, sample.scenario].cpu_us:.2f}")
        parts += [f"CPU time as a multiple of {OURS}'s:", grid(["system", *titles], ratios)]
    parts += faults(samples.values())
    return "\n\n".join(parts)


def cells(
    samples: Mapping[tuple[str, str], M],
    peers: Sequence[str],
    scenarios: Sequence[str],
    absent: Mapping[str, str],
    figure: Callable[[M], str],
) -> list[list[str]]:
    """A row for each peer: its name, then the figure under each scenario, or why there is none."""
    return [
        [peer, *(_cell(samples.get((peer, scenario)), absent.get(peer, ""), figure) for scenario in scenarios)]
        for peer in peers
    ]


def _cell(sample: M | None, absent: str, figure: Callable[[M], str]) -> str:
    if sample is None:
        return absent or "-"
    return f"{figure(sample)} ({sample.errors} ERRORS)" if sample.errors else figure(sample)


def memory(found: Iterable[float]) -> str:
    """The most memory, given in MB, of all that was found."""
    return f"{most:.0f} MB" if (most := max(found, default=0.0)) else "-"


def faults(samples: Iterable[Measurement]) -> list[str]:
    """A line for each measurement in which something was wrong: what it was."""
    return [f"{sample.peer}, {sample.scenario}: {sample.error}" for sample in samples if sample.errors]


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its columns aligned."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [_row(head, widths), _row(["-" * width for width in widths], widths)]
    return "\n".join([*lines, *(_row(row, widths) for row in rows)])


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"
