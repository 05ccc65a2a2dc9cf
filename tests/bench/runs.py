"""What every benchmark does: read its options, start systems, say what machine this is, report."""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.peers import Peer, Place
from tests.bench.system import NotStarted, System
from tests.bench.table import Measurement


def parser(
    module: str, description: str | None, peers: Sequence[str], scenarios: Sequence[str]
) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    made.add_argument("--peers", type=listed(peers), default=peers, help=f"comma-separated, of: {', '.join(peers)}")
    made.add_argument("--scenarios", type=listed(scenarios), default=scenarios, help=f"of: {', '.join(scenarios)}")
    made.add_argument("--rounds", type=int, default=3, help="of which the median counts")
    made.add_argument("--proxy-core", type=int, default=0, help="where the system under test runs")
    made.add_argument("--load-core", type=int, default=1, help="where all else runs")
    made.add_argument("--switchboard-python", default=".venv/bin/python", help="the project's interpreter")
    made.add_argument("--json", type=Path, help="write everything that was measured there")
    return made


def listed(known: Sequence[str]) -> Callable[[str], list[str]]:
    """The type of an option that takes some of the known names, comma-separated."""

    def parse(text: str) -> list[str]:
        chosen = [part.strip() for part in text.split(",")]
        unknown = set(chosen) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return chosen

    return parse


class Systems:
    """The systems of one run, all up at once so that rounds can go round them. running: by name, with their URLs."""

    def __init__(self, directory: Path, engine: int, options: argparse.Namespace) -> None:
        self.running: dict[str, tuple[System, str]] = {}
        self._directory = directory
        self._engine = engine
        self._options = options

    def start(self, peer: Peer, stack: ExitStack) -> dict[str, str]:
        """Start a system; it ends with the stack. Returns its name and why, when it does not come up."""
        say(f"starting {peer.name}")
        directory = self._directory / peer.name.replace(" ", "-")
        directory.mkdir()
        place = Place(directory, free_port(), self._engine, free_port(), self._options.switchboard_python)
        start = peer.start(place)
        system = stack.enter_context(
            System(start.command, self._options.proxy_core, directory / "log", dict(start.environment))
        )
        url = f"http://127.0.0.1:{place.port}"
        try:
            system.wait_ready(f"{url}{peer.ready}")
        except NotStarted as error:
            print(f"{peer.name}: {error}", file=sys.stderr)
            return {peer.name: "did not start"}
        self.running[peer.name] = (system, url)
        return {}


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def about(versions: Mapping[str, str], measured: str) -> dict[str, str]:
    """When, where, with what and how it was measured."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "measured": measured,
    }


def report(
    facts: Mapping[str, str],
    page: str,
    absent: Mapping[str, str],
    samples: Iterable[Measurement],
    json_path: Path | None,
) -> None:
    """Print the page; write all that was measured where it is wanted."""
    print("\n".join(f"{key}: {value}" for key, value in facts.items()) + "\n")
    print(page)
    if json_path:
        result = {"about": facts, "absent": absent, "samples": [asdict(sample) for sample in samples]}
        json_path.write_text(json.dumps(result, indent=1), encoding="utf-8")


def say(text: str) -> None:
    """Tell on standard error how far it is."""
    print(text, file=sys.stderr, flush=True)
