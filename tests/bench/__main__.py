"""The benchmark: systems that forward to the same engine, measured in turn, in one run. See docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

from tests.bench.peers import PEERS, Peer, Place
from tests.bench.system import NotStarted, System
from tests.bench.table import SCENARIOS, Sample, Scenario, render, summarize

WARM_SECONDS = 1.0


def main() -> None:
    """Run from the command line. Exit status 1 when an answer was wrong."""
    options = _parser().parse_args()
    peers = [peer for peer in PEERS if peer.name in options.peers]
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in options.scenarios]
    absent = {peer.name: reason for peer in peers if (reason := peer.missing())}
    versions = {peer.name: peer.version() for peer in peers if peer.name not in absent}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, ExitStack() as stack:
        engine = _free_port()
        command = (sys.executable, "-m", "tests.bench.mock_engine", str(engine))
        mock = stack.enter_context(System(command, options.load_core, Path(directory) / "engine.log", {}))
        mock.wait_ready(f"http://127.0.0.1:{engine}/health")
        bench = Bench(Path(directory), engine, options)
        for peer in peers:
            if peer.name not in absent:
                absent |= bench.start(peer, stack)
        samples = []
        for number, scenario, peer in product(range(options.rounds), scenarios, peers):
            if peer.name not in absent:
                _say(f"round {number + 1} of {options.rounds}: {scenario.name}: {peer.name}")
                samples.append(bench.measure(peer, scenario))
    summary = summarize(samples)
    about = _machine(options, versions)
    print("\n".join(f"{key}: {value}" for key, value in about.items()) + "\n")
    print(render(summary, [peer.name for peer in peers], scenarios, absent))
    if options.json:
        result = {"about": about, "absent": absent, "samples": [asdict(sample) for sample in samples]}
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    sys.exit(any(sample.errors for sample in samples))


class Bench:
    """The systems of one run, all up at once so that rounds can go round them."""

    def __init__(self, directory: Path, engine: int, options: argparse.Namespace) -> None:
        self._directory = directory
        self._engine = engine
        self._options = options
        self._running: dict[str, tuple[System, str]] = {}

    def start(self, peer: Peer, stack: ExitStack) -> dict[str, str]:
        """Start a system; it ends with the stack. Returns its name and why, when it does not come up."""
        _say(f"starting {peer.name}")
        directory = self._directory / peer.name.replace(" ", "-")
        directory.mkdir()
        port = _free_port()
        place = Place(directory, port, self._engine, _free_port(), self._options.switchboard_python)
        start = peer.start(place)
        system = stack.enter_context(
            System(start.command, self._options.proxy_core, directory / "log", dict(start.environment))
        )
        try:
            system.wait_ready(f"http://127.0.0.1:{port}{peer.ready}")
        except NotStarted as error:
            print(f"{peer.name}: {error}", file=sys.stderr)
            return {peer.name: "did not start"}
        self._running[peer.name] = (system, f"http://127.0.0.1:{port}")
        return {}

    def measure(self, peer: Peer, scenario: Scenario) -> Sample:
        """Load one system, after a short warming up."""
        system, url = self._running[peer.name]
        self._load(peer, url, scenario, WARM_SECONDS)
        before = system.cpu_seconds
        found = self._load(peer, url, scenario, self._options.seconds)
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

    def _load(self, peer: Peer, url: str, scenario: Scenario, seconds: float) -> dict[str, str | float]:
        arguments = (url, scenario.connections, seconds, peer.model, peer.key, scenario.mode, scenario.pause_ms)
        command = ["taskset", "-c", str(self._options.load_core), sys.executable, "-m", "tests.bench.load"]
        done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=True)
        found: dict[str, str | float] = json.loads(done.stdout)
        return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names, kinds = [peer.name for peer in PEERS], [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--peers", type=_listed(names), default=names, help=f"comma-separated, of: {', '.join(names)}")
    parser.add_argument("--scenarios", type=_listed(kinds), default=kinds, help=f"of: {', '.join(kinds)}")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts")
    parser.add_argument("--proxy-core", type=int, default=0, help="where the system under test runs")
    parser.add_argument("--load-core", type=int, default=1, help="where engine and load run")
    parser.add_argument("--switchboard-python", default=".venv/bin/python", help="the project's interpreter")
    parser.add_argument("--json", type=Path, help="write everything that was measured there")
    return parser


def _listed(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = [part.strip() for part in text.split(",")]
        unknown = set(chosen) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return chosen

    return parse


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _machine(options: argparse.Namespace, versions: dict[str, str]) -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "measured": f"{options.rounds} rounds of {options.seconds:g} s, medians",
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
