"""What the door does when more is asked than its engine can: at 0.5 to 10 times the capacity, and after, with admission or without.

usage: python -m tests.bench.overload [--seconds 15] [--without]

One engine of SLOTS slots that thrashes when it is crowded, clients that give up after a while, requests that come as they
come. The proxy is on the first core, the engine and the load on the second. Prints the page's table, and fails where a bound
does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import uvloop

from tests.bench.arrivals import Arrival, arrive, clients
from tests.bench.crowded_engine import CAPACITY, SECONDS, SLOTS
from tests.bench.load import percentile, request_bytes
from tests.bench.mock_engine import MODEL
from tests.bench.system import System

LOADS = (0.5, 1.0, 2.0, 5.0, 10.0)
AFTER = 0.5
PATIENCE = 2.0
"""Seconds after which a client gives up: ten times the mean answer."""
RECOVERY = 10.0
WINDOW = 1.0

_CONFIG = """
[[engines]]
name = "engine"
kind = "vllm"
url = "http://127.0.0.1:{engine}"
max_in_flight = {slots}

[[models]]
name = "{model}"
engine = "engine"
"""


@dataclass(frozen=True, slots=True)
class Phase:
    """One load and what came of it. load: times the capacity; times in milliseconds, None = of nothing."""

    name: str
    load: float
    seconds: float
    arrivals: Sequence[Arrival]

    def count(self, outcome: str) -> int:
        """How many ended so."""
        return sum(arrival.outcome == outcome for arrival in self.arrivals)

    def milliseconds(self, outcome: str, part: float) -> float | None:
        """A percentile of how long they took."""
        return percentile([each.seconds for each in self.arrivals if each.outcome == outcome], part)

    @property
    def goodput(self) -> float:
        """Answers a second that came before their clients gave up."""
        return self.count("answered") / self.seconds


def recovered(phase: Phase, usual_ms: float) -> float | None:
    """Seconds after the load fell from which on all requests are answered, 99 % within twice the usual time; None = never."""
    windows = int(phase.seconds / WINDOW)
    normal_from = windows
    for window in reversed(range(windows)):
        came = [each for each in phase.arrivals if window * WINDOW <= each.due < (window + 1) * WINDOW]
        slowest = percentile([each.seconds for each in came], 0.99) or 0.0
        if any(each.outcome != "answered" for each in came) or slowest > 2 * usual_ms:
            break
        normal_from = window
    return None if normal_from == windows else normal_from * WINDOW


def render(phases: Sequence[Phase]) -> str:
    """The table."""
    lines = [
        "| load | asked/s | answered/s | refused/s | gave up/s | answer p50 | answer p99 | refusal p99 | sent late p99 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for phase in phases:
        rates = [len(phase.arrivals), *(phase.count(each) for each in ("answered", "refused", "gave up"))]
        times = [
            phase.milliseconds("answered", 0.5),
            phase.milliseconds("answered", 0.99),
            phase.milliseconds("refused", 0.99),
            percentile([arrival.late for arrival in phase.arrivals], 0.99),
        ]
        cells = [
            *(f"{rate / phase.seconds:.1f}" for rate in rates),
            *("-" if time is None else f"{time:.0f} ms" for time in times),
        ]
        lines.append(f"| {phase.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def judge(phases: Sequence[Phase]) -> list[tuple[str, bool]]:
    """What must hold, with the figure, and whether it does."""
    by_name = {phase.name: phase for phase in phases}
    usual = by_name["0.5"].milliseconds("answered", 0.99) or 0.0
    peak = max(phase.goodput for phase in phases)
    worst = by_name["10"]
    refusal = max(phase.milliseconds("refused", 0.99) or 0.0 for phase in phases)
    slowest = max(phase.milliseconds("answered", 0.99) or 0.0 for phase in phases)
    back = recovered(phases[-1], usual)
    failed = sum(phase.count("failed") for phase in phases)
    return [
        (f"goodput at 10x is {worst.goodput / peak:.0%} of its peak (80 % or more)", worst.goodput >= 0.8 * peak),
        (f"99 % of refusals come within {refusal:.0f} ms (50 ms or less)", refusal <= 50),
        (f"99 % of answers within {slowest / usual:.2f}x of those at 0.5x load (2 or less)", slowest <= 2 * usual),
        (f"back to normal {back} s after (10 s or less)", back is not None and back <= RECOVERY),
        (f"{failed} requests ended otherwise (none)", failed == 0),
    ]


async def measure(url: str, seconds: float) -> list[Phase]:
    """All loads, one after the other without a pause, then the first again."""
    request = request_bytes("door", MODEL, "", stream=False, pause_ms=0)
    async with clients(url, request, PATIENCE) as crowd:
        await arrive(crowd, CAPACITY * AFTER, 2.0, seed=0)
        loads = [(f"{load:g}", load, seconds) for load in LOADS]
        loads.append((f"{AFTER:g}, after", AFTER, max(seconds, 2 * RECOVERY)))
        asked = [await arrive(crowd, CAPACITY * load, time, seed) for seed, (_, load, time) in enumerate(loads, 1)]
        return [
            Phase(name, load, time, await asyncio.gather(*tasks))
            for (name, load, time), tasks in zip(loads, asked, strict=True)
        ]


def run(seconds: float, python: str, *, admission: bool) -> list[Phase]:
    """Start an engine and a proxy, and load them."""
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as name:
        directory, (engine, door) = Path(name), _free_ports()
        config = directory / "switchboard.toml"
        config.write_text(_CONFIG.format(engine=engine, slots=SLOTS if admission else 0, model=MODEL))
        environment = {
            "SWITCHBOARD_CONFIG": str(config),
            "SWITCHBOARD_LISTEN": f"127.0.0.1:{door}",
            "SWITCHBOARD_DATA": str(directory / "data"),
            "SWITCHBOARD_MAX_CONNECTIONS": "8000",
        }
        crowded = (python, "-m", "tests.bench.crowded_engine", str(engine))
        proxy = (python, "-m", "proxy", "serve")
        with (
            System(crowded, 1, directory / "engine.log", {}) as first,
            System(proxy, 0, directory / "proxy.log", environment) as second,
        ):
            first.wait_ready(f"http://127.0.0.1:{engine}/v1/models")
            second.wait_ready(f"http://127.0.0.1:{door}/health")
            phases: list[Phase] = uvloop.run(measure(f"http://127.0.0.1:{door}", seconds))
            return phases


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each load")
    parser.add_argument("--without", action="store_true", help="measure without admission, too")
    parser.add_argument("--switchboard-python", default=sys.executable, help="what runs the proxy and the engine")
    arguments = parser.parse_args()
    aiohttp, loop = version("aiohttp"), version("uvloop")
    print(f"Python {platform.python_version()}, aiohttp {aiohttp}, uvloop {loop}, {os.cpu_count()} cores")
    print(
        f"Engine: {SLOTS} slots, {SECONDS:g} s an answer, so {CAPACITY:g} answers a second; clients give up after {PATIENCE:g} s.\n"
    )
    phases = run(arguments.seconds, arguments.switchboard_python, admission=True)
    print(render(phases) + "\n")
    verdicts = judge(phases)
    for what, holds in verdicts:
        print(f"{'ok' if holds else 'NOT HELD'}: {what}")
    if arguments.without:
        print("\nWithout admission (`max_in_flight = 0`):\n")
        print(render(run(arguments.seconds, arguments.switchboard_python, admission=False)))
    sys.exit(not all(holds for _, holds in verdicts))


if __name__ == "__main__":
    main()
