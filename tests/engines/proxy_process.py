"""The proxy as its users run it: a process of its own, configured by a file, found by the line it logs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_SECONDS = 30.0


@contextmanager
def proxy_process(config: str, directory: Path) -> Iterator[str]:
    """Serve this TOML configuration on a free port; yields the base URL, without /v1. Raises RuntimeError with its log."""
    file, log = directory / "switchboard.toml", directory / "proxy.log"
    file.write_text(config, encoding="utf-8")
    environment = {
        "SWITCHBOARD_CONFIG": str(file),
        "SWITCHBOARD_LISTEN": "127.0.0.1:0",
        "SWITCHBOARD_DATA": str(directory / "data"),
        "SWITCHBOARD_DRAIN_SECONDS": "1",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "serve"],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait(10)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n") and '"listening"' in line:
                address: str = json.loads(line)["addresses"][0]
                return address
        time.sleep(0.05)
    raise RuntimeError(f"the proxy did not start:\n{log.read_text(encoding='utf-8')}")
