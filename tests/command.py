"""The command itself, in a process of its own: found by what it logs, signalled, ended."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

from backends.types import JsonObject

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0
POLL_SECONDS = 0.01


class Command:
    """A running `switchboard serve`, which logs JSON into a file: nobody has to read for it to go on.

    lines: what it logged, in order, as far as it was read; url: set when it listens. Raises AssertionError with the log.
    """

    def __init__(self, settings: Mapping[str, str], log: Path) -> None:
        self.url = ""
        self.lines: list[JsonObject] = []
        self._log = log
        self._read = 0
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "proxy", "serve"],
                cwd=ROOT,
                env=_environment({"SWITCHBOARD_LISTEN": "127.0.0.1:0", **settings}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    async def until(self, event: str) -> JsonObject:
        """Read the log up to the next line of this event."""
        for line in self._waiting(event):
            if line is not None:
                return line
            await asyncio.sleep(POLL_SECONDS)
        raise AssertionError

    async def rest(self, within: float | None = START_SECONDS) -> int:
        """Read the log to its end; the exit status. within: seconds, None = however long that takes."""
        async with asyncio.timeout(within):
            status = None
            while status is None:
                status = self.process.poll()
                self.lines += self._new()
                await asyncio.sleep(POLL_SECONDS)
        return status

    async def listening(self) -> None:
        """Wait until it has an address."""
        self._listens(await self.until("listening"))

    def wait_listening(self) -> None:
        """The same without an event loop."""
        for line in self._waiting("listening"):
            if line is not None:
                self._listens(line)
                return
            time.sleep(POLL_SECONDS)

    def signal(self, number: Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, number: Signals = SIGKILL) -> None:
        """End it, if it has not ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(START_SECONDS)

    def _listens(self, line: JsonObject) -> None:
        addresses = line["addresses"]
        assert isinstance(addresses, list)
        self.url = str(addresses[0])

    def _waiting(self, event: str) -> Iterator[JsonObject | None]:
        """The line of this event at last, and None for as long as it is not there."""
        deadline = time.monotonic() + START_SECONDS
        ended = False
        while not ended and time.monotonic() < deadline:
            # In this order: what it wrote last is read, too.
            ended = self.process.poll() is not None
            yield self._find(event)
        raise AssertionError(f"no {event!r} in the log:\n{self._log.read_text(errors='replace')}")

    def _find(self, event: str) -> JsonObject | None:
        for line in self._new():
            self.lines.append(line)
            if line["event"] == event:
                return line
        return None

    def _new(self) -> Iterator[JsonObject]:
        """The lines that have not been read; each is read when it is taken."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                # What Python itself says on its way out is no JSON.
                yield json.loads(line) if line.startswith(b"{") else {"event": line.decode(errors="replace").rstrip()}


@asynccontextmanager
async def serving(**settings: str) -> AsyncIterator[Command]:
    """`switchboard serve` on a free port; killed at the end, if it has not ended."""
    with tempfile.TemporaryDirectory() as directory:
        command = Command(settings, Path(directory) / "log")
        try:
            await command.listening()
            yield command
        finally:
            command.end()


@contextmanager
def served(log: Path, **settings: str) -> Iterator[Command]:
    """The same without an event loop, ended gracefully; its log stays."""
    command = Command(settings, log)
    try:
        command.wait_listening()
        yield command
    finally:
        command.end(SIGTERM)


async def start(subcommand: str, settings: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Start `switchboard SUBCOMMAND` with these settings; what it prints is for the caller to read."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "proxy",
        subcommand,
        cwd=ROOT,
        env=_environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **settings}
