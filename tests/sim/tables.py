"""What the simulator found, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from proxy.registry.models import PolicyName
from proxy.routing.policy import POLICIES
from tests.sim.simulate import Result, Simulation
from tests.sim.traces import Trace

BEGIN, END = "<!-- sim:begin -->\n", "<!-- sim:end -->\n"
SHOWN: Sequence[PolicyName] = (
    "balanced",
    "prefix_aware",
    "session_affinity",
    "least_in_flight",
    "power_of_two",
    "round_robin",
)
FIGURES: Mapping[str, Callable[[Result], str]] = {
    "Mean milliseconds to the first token": lambda result: _ms(result.mean),
    "Median": lambda result: _ms(result.percentile(50)),
    "95th percentile": lambda result: _ms(result.percentile(95)),
    "99th percentile": lambda result: _ms(result.percentile(99)),
    "Part of all prompt tokens that were cached": lambda result: f"{result.cached:.0%}",
    "Load of the busiest engine by the mean of all": lambda result: f"{result.spread:.2f}",
}


def results(trace: Trace) -> dict[PolicyName, Result]:
    """Of every policy."""
    return {name: Simulation(trace, POLICIES[name]).run() for name in SHOWN}


def render(traces: Iterable[Trace]) -> str:
    """A table for each figure: traces down, policies across."""
    found = {trace.name: results(trace) for trace in traces}
    head = f"| | {' | '.join(f'`{name}`' for name in SHOWN)} |\n|---|{'---:|' * len(SHOWN)}"
    tables = [
        "\n".join([f"**{title}**\n", head, *(row(name, each, figure) for name, each in found.items())])
        for title, figure in FIGURES.items()
    ]
    return "\n\n".join(tables) + "\n"


def row(trace: str, found: Mapping[PolicyName, Result], figure: Callable[[Result], str]) -> str:
    """One line of a table."""
    return f"| {trace} | {' | '.join(figure(found[name]) for name in SHOWN)} |"


def written(page: str, tables: str) -> str:
    """The page with these tables between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f}"
