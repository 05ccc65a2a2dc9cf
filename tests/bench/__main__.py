"""The benchmark: systems that forward to the same engine, measured in turn, in one run. See docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from tests.bench.peers import PEERS, Peer
from tests.bench.runs import Systems, about, free_port, parser, report, say
from tests.bench.system import System
from tests.bench.table import SCENARIOS, Sample, Scenario, render, summarize

WARM_SECONDS = 1.0


def main() -> None:
    """Run from the command line. Exit status 1 when an answer was wrong."""
    options = _options()
    peers = [peer for peer in PEERS if peer.name in options.peers]
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in options.scenarios]
    absent = {peer.name: reason for peer in peers if (reason := peer.missing())}
    versions = {peer.name: peer.version() for peer in peers if peer.name not in absent}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, ExitStack() as stack:
        engine = free_port()
        command = (sys.executable, "-m", "tests.bench.mock_engine", str(engine))
        mock = stack.enter_context(System(command, options.load_core, Path(directory) / "engine.log", {}))
        mock.wait_ready(f"http://127.0.0.1:{engine}/health")
        systems = Systems(Path(directory), engine, options)
        for peer in peers:
            if peer.name not in absent:
                absent |= systems.start(peer, stack)
        samples = []
        for number, scenario, peer in product(range(options.rounds), scenarios, peers):
            if peer.name not in absent:
                say(f"round {number + 1} of {options.rounds}: {scenario.name}: {peer.name}")
                samples.append(_measure(peer, scenario, *systems.running[peer.name], options))
    facts = about(versions, f"{options.rounds} rounds of {options.seconds:g} s, medians")
    page = render(summarize(samples), [peer.name for peer in peers], scenarios, absent)
    report(facts, page, absent, samples, options.json)
    sys.exit(any(sample.errors for sample in samples))


def _measure(peer: Peer, scenario: Scenario, system: System, url: str, options: argparse.Namespace) -> Sample:
    """Load one system, after a short warming up."""
    _load(peer, url, scenario, WARM_SECONDS, options.load_core)
    before = system.cpu_seconds
    found = _load(peer, url, scenario, options.seconds, options.load_core)
    used = system.cpu_seconds - before
    count = int(found["requests"])
    return Sample(
        peer=peer.name,
        scenario=scenario.name,
        cpu_us=round(used / count * 1e6, 1) if count else 0.0,
        per_second=float(found["per_second"]),
        p50_ms=float(found["p50_ms"] or 0),
        p99_ms=float(found["p99_ms"] or 0),
        rss_mb=round(system.rss_mb, 1),
        errors=int(found["errors"]),
        error=str(found["error"]),
    )


def _load(peer: Peer, url: str, scenario: Scenario, seconds: float, core: int) -> dict[str, str | float]:
    arguments = (url, scenario.connections, seconds, peer.model, peer.key, scenario.mode, scenario.pause_ms)
    command = ["taskset", "-c", str(core), sys.executable, "-m", "tests.bench.load"]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=True)
    found: dict[str, str | float] = json.loads(done.stdout)
    return found


def _options() -> argparse.Namespace:
    names, kinds = [peer.name for peer in PEERS], [scenario.name for scenario in SCENARIOS]
    made = parser("tests.bench", __doc__, names, kinds)
    made.add_argument("--seconds", type=float, default=4.0, help="for each measurement")
    return made.parse_args()


if __name__ == "__main__":
    main()
