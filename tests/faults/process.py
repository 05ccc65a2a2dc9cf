"""The door as a process of its own, whose memory is nobody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from tests.engines.proxy_process import proxy_process
from tests.faults.door import Door
from tests.faults.ledger import Ledger

MB = 1 << 20


@dataclass
class Memory:
    """A process's memory."""

    pid: int

    def __enter__(self) -> Memory:
        """From here on its peak counts."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")
        self._before = self._read("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        """Until here."""
        self.grown = max(0, self._read("VmHWM") - self._before) / MB

    def _read(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{name}:"))


@asynccontextmanager
async def apart(
    engine: str, ledger: Ledger, seed: int, directory: Path, words: int = 12
) -> AsyncIterator[tuple[Door, Memory]]:
    """The door in front of one engine, and its memory once it has answered a while."""
    config = f"""
[[engines]]
name = "engine"
kind = "vllm"
url = "{engine}/v1"
health = {{ failures = 1000, first_pause = 0.01, longest_pause = 0.01 }}

[[models]]
name = "m"
engine = "engine"
"""
    with proxy_process(config, directory) as url:
        door = Door(url, ledger, seed, words)
        for _ in range(20):
            await door.ask()
        yield door, Memory(_listening(urlsplit(url).port))


def _listening(port: int | None) -> int:
    """The child that listens at this port."""
    for child in psutil.Process().children():
        if any(connection.laddr.port == port for connection in child.net_connections()):
            return int(child.pid)
    raise LookupError(port)
