"""Measurements in, the page that is printed out: medians over rounds, tables, ratios."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

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
class Sample:
    """One system under one load for one round. cpu_us: of its whole process tree, a request."""

    peer: str
    scenario: str
    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float
    rss_mb: float
    errors: int
    error: str = ""


def summarize(samples: Iterable[Sample]) -> dict[tuple[str, str], Sample]:
    """(peer, scenario) -> the medians over its rounds, with all errors counted."""
    rounds: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        rounds.setdefault((sample.peer, sample.scenario), []).append(sample)
    return {key: _median(found) for key, found in rounds.items()}


def _median(rounds: Sequence[Sample]) -> Sample:
    def of(figure: Callable[[Sample], float]) -> float:
        return median(figure(sample) for sample in rounds)

    return Sample(
        peer=rounds[0].peer,
        scenario=rounds[0].scenario,
        cpu_us=of(lambda sample: sample.cpu_us),
        per_second=of(lambda sample: sample.per_second),
        p50_ms=of(lambda sample: sample.p50_ms),
        p99_ms=of(lambda sample: sample.p99_ms),
        rss_mb=of(lambda sample: sample.rss_mb),
        errors=sum(sample.errors for sample in rounds),
        error=next((sample.error for sample in rounds if sample.error), ""),
    )


def render(
    samples: Mapping[tuple[str, str], Sample],
    peers: Sequence[str],
    scenarios: Sequence[Scenario],
    absent: Mapping[str, str],
) -> str:
    """The page in Markdown. absent: systems without figures, and why."""

    def cells(figure: Callable[[Sample], str]) -> list[list[str]]:
        return [
            [peer, *(_cell(samples.get((peer, scenario.name)), absent.get(peer, ""), figure) for scenario in scenarios)]
            for peer in peers
        ]

    titles = [f"{scenario.title}, {scenario.connections} connections" for scenario in scenarios]
    cost = cells(lambda sample: f"{sample.cpu_us:.0f} µs")
    for row in cost:
        row.append(_memory(samples, row[0]))
    parts = [
        "CPU time of the system's process tree per request, and its memory:",
        _grid(["system", *titles, "memory"], cost),
        "Latency, p50 / p99 (one core each for the system, and for engine and load together):",
        _grid(["system", *titles], cells(lambda sample: f"{sample.p50_ms:.1f} / {sample.p99_ms:.1f} ms")),
    ]
    if (OURS, scenarios[0].name) in samples:
        ratios = cells(lambda sample: f"{sample.cpu_us / samples[OURS, sample.scenario].cpu_us:.2f}")
        parts += [f"CPU time as a multiple of {OURS}'s:", _grid(["system", *titles], ratios)]
    parts += [f"{sample.peer}, {sample.scenario}: {sample.error}" for sample in samples.values() if sample.errors]
    return "\n\n".join(parts)


def _cell(sample: Sample | None, absent: str, figure: Callable[[Sample], str]) -> str:
    if sample is None:
        return absent or "-"
    return f"{figure(sample)} ({sample.errors} ERRORS)" if sample.errors else figure(sample)


def _memory(samples: Mapping[tuple[str, str], Sample], peer: str) -> str:
    found = [sample.rss_mb for (name, _), sample in samples.items() if name == peer]
    return f"{max(found):.0f} MB" if found else "-"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [_row(head, widths), _row(["-" * width for width in widths], widths)]
    return "\n".join([*lines, *(_row(row, widths) for row in rows)])


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"
