"""The command itself, as its own process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backends.types import JsonObject

ROOT = Path(__file__).parents[2]
START_SECONDS = 30


@dataclass
class Command:
    """A running `switchboard serve`. lines: what it logged, in order, as far as it was read."""

    process: asyncio.subprocess.Process
    url: str = ""
    lines: list[JsonObject] = field(default_factory=list)

    async def until(self, event: str) -> JsonObject:
        """Read the log up to the line of this event."""
        assert self.process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            while line := await self.process.stdout.readline():
                self.lines.append(json.loads(line))
                if self.lines[-1]["event"] == event:
                    return self.lines[-1]
        raise AssertionError(f"no {event!r} in the log: {self.lines}")

    async def rest(self) -> int:
        """Read the log to its end; the exit status."""
        assert self.process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            async for line in self.process.stdout:
                self.lines.append(json.loads(line))
            return await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)


@asynccontextmanager
async def serving(**settings: str) -> AsyncIterator[Command]:
    """`switchboard serve` on a free port, logging JSON."""
    process = await start("serve", {"SWITCHBOARD_LISTEN": "127.0.0.1:0", **settings})
    command = Command(process)
    try:
        listening = await command.until("listening")
        addresses = listening["addresses"]
        assert isinstance(addresses, list)
        command.url = str(addresses[0])
        yield command
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def start(subcommand: str, settings: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Start `switchboard SUBCOMMAND` with these settings."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "proxy",
        subcommand,
        cwd=ROOT,
        env={**os.environ, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
