"""Runs the proxy and starts it anew when a source file changes: the development loop of compose/dev.yaml.

    python reload.py proxy backends -- python -m proxy serve

Looks at modification times twice a second, as uvicorn's StatReload does, which works on every mounted file system. A server that
ends by itself (a syntax error, a wrong configuration) is started again at the next change.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_LEAVE = 5.0
SOURCES = (".py", ".toml")

Times = dict[Path, int]


def look(roots: list[Path]) -> Times:
    """Path -> time of last change (ns) of every source file under the roots; files that vanish meanwhile are left out."""
    times: Times = {}
    for root in roots:
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            try:
                if path.suffix in SOURCES:
                    times[path] = path.stat().st_mtime_ns
            except FileNotFoundError:
                continue
    return times


def changed(before: Times, after: Times) -> list[Path]:
    """The files that were written, made or removed between two looks."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def stop(server: subprocess.Popen[bytes]) -> None:
    """End a server; one that drains for longer than a developer waits is killed."""
    server.terminate()
    try:
        server.wait(SECONDS_TO_LEAVE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def watch(roots: list[Path], command: list[str], leave: threading.Event) -> None:
    """Keep the command running on the newest sources until told to leave."""
    seen = look(roots)
    server = subprocess.Popen(command)
    try:
        while not leave.wait(SECONDS_BETWEEN_LOOKS):
            now = look(roots)
            if files := changed(seen, now):
                sys.stderr.write(f"reload: {files[0]} changed\n")
                seen = now
                stop(server)
                server = subprocess.Popen(command)
    finally:
        stop(server)


def main() -> None:
    """Read the command line; SIGTERM and SIGINT end the server and then this."""
    if "--" not in sys.argv[2:-1]:
        sys.exit("usage: reload.py PATH... -- COMMAND...")
    split = sys.argv.index("--")
    roots = [Path(name) for name in sys.argv[1:split]]
    if missing := [str(root) for root in roots if not root.exists()]:
        sys.exit(f"reload.py: no such file or directory: {', '.join(missing)}")
    leave = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leave.set())
    watch(roots, sys.argv[split + 1 :], leave)


if __name__ == "__main__":
    main()
