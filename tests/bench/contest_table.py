"""The page of a contest: throughput, latency, quality, memory, and how many times each system's throughput ours is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.table import OURS, Measurement, cells, faults, grid, memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Measurement):
    """One pass over the work. per_second: units of it, by the clock; per_cpu_second: of CPU time; quality: per cent."""

    per_second: float
    per_cpu_second: float
    p50_ms: float
    p95_ms: float
    rss_mb: float
    quality: float


def render(
    samples: Mapping[tuple[str, str], Answered],
    peers: Sequence[str],
    clients: Sequence[str],
    absent: Mapping[str, str],
    unit: str,
    quality: str,
) -> str:
    """The page in Markdown. clients: how many at once, a column each; absent: systems without figures, and why."""

    def table(title: str, figure: Callable[[Answered], str], last: Sequence[Callable[[str], str]] = ()) -> str:
        rows = [[*row, *(make(row[0]) for make in last)] for row in cells(samples, peers, clients, absent, figure)]
        head = ["system", *(f"{count} at once" for count in clients), *(["memory"] if last else [])]
        return f"{title}:\n\n{grid(head, rows)}"

    def most_memory(peer: str) -> str:
        return memory(sample.rss_mb for (name, _), sample in samples.items() if name == peer)

    def times(figure: Callable[[Answered], float]) -> Callable[[Answered], str]:
        def ratio(theirs: Answered) -> str:
            ours = samples.get((OURS, theirs.scenario))
            return f"{figure(ours) / figure(theirs):.2f}" if ours and figure(theirs) else "-"

        return ratio

    return "\n\n".join(
        [
            table(f"{unit} a second of CPU time, and memory", lambda one: f"{one.per_cpu_second:.1f}", [most_memory]),
            table(f"{unit} a second by the clock", lambda one: f"{one.per_second:.1f}"),
            table("Latency, p50 / p95", lambda one: f"{one.p50_ms:.0f} / {one.p95_ms:.0f} ms"),
            table(quality, lambda one: f"{one.quality:.1f} %"),
            table(
                f"How many times the system's throughput {OURS}'s is, by CPU time",
                times(lambda one: one.per_cpu_second),
            ),
            table("The same by the clock", times(lambda one: one.per_second)),
            *faults(samples.values()),
        ]
    )
