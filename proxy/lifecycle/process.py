"""An engine as a process of this machine, under a guard that answers for its end."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from backends.errors import Unavailable
from backends.launch import PORT, Process
from proxy.lifecycle import guard
from proxy.lifecycle.carrier import Lines, secrets_in

OURS = ("SWITCHBOARD_", "LX_")
"""How variables begin that configure this server, keys and databases among them: no engine gets to see them."""
SPARE_SECONDS = 5.0
"""For which the guard may take longer than it needs if everything has to be killed."""


class ChildProcess:
    """A Carrier. port: that the engine is told to listen on; grace: seconds to end by itself when it is stopped."""

    def __init__(self, name: str, process: Process, port: int, grace: float) -> None:
        self._name = name
        self._configured = process
        self._port = port
        self._grace = grace
        self._environment = {**_inherited(os.environ), **process.env}
        self._guard: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._lines = Lines()

    @property
    def pid(self) -> int | None:
        """Of the guard, while there is one."""
        return self._guard.pid if self._guard is not None else None

    async def adopt(self) -> bool:
        """Nothing of an earlier proxy is ever left."""
        return False

    async def start(self, more: tuple[str, ...]) -> None:
        """Start the guard, which starts the engine: whether that succeeds shows in ended()."""
        if sys.platform != "linux":
            raise Unavailable(f"Engine {self._name!r} cannot be started as a process: that takes Linux. Use `docker`.")
        command = [part.replace(PORT, str(self._port)) for part in (*self._configured.command, *more)]
        self._lines = Lines(secrets_in(self._environment))
        log = await self._open_log()
        # Isolated and without site-packages: it needs neither, and is there in 20 ms.
        words = ("-I", "-S", guard.__file__, str(self._grace), *command)
        self._guard = await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,
        )
        assert self._guard.stdout is not None, "it was asked for"
        self._reading = asyncio.create_task(self._read(self._guard.stdout, log), name=f"log of {self._name}")

    async def ended(self) -> str:
        """As the guard tells it."""
        if self._guard is None:
            return "was not started"
        status = await self._guard.wait()
        if self._reading is not None:
            await asyncio.shield(self._reading)
        if status == guard.STUCK:
            return "could not be ended"
        return f"was ended by signal {status - 128}" if status > 128 else f"ended with exit status {status}"

    async def stop(self) -> None:
        """Hang up on the guard, which ends the engine; and see that it has."""
        if self._guard is None:
            return
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        try:
            async with asyncio.timeout(self._grace + guard.KILL_SECONDS + SPARE_SECONDS):
                status = await self._guard.wait()
        except TimeoutError:
            # The engine goes with it: it asked the kernel for that.
            with suppress(ProcessLookupError):
                self._guard.kill()
            status = await self._guard.wait()
        if self._reading is not None:
            await self._reading
        self._guard = None
        if status == guard.STUCK:
            raise Unavailable(f"Engine {self._name!r} cannot be ended: a process of it ignores even SIGKILL.")

    async def said(self) -> list[str]:
        """What it printed, on whichever of its outputs."""
        return self._lines.last()

    async def close(self) -> None:
        """A child ends with its proxy."""
        await self.stop()

    async def _open_log(self) -> BinaryIO | None:
        path = self._configured.log
        try:
            return None if path is None else await asyncio.to_thread(_open, path)
        except OSError as error:
            raise Unavailable(f"Engine {self._name!r} was not started: its `log` cannot be written.") from error

    async def _read(self, output: asyncio.StreamReader, log: BinaryIO | None) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            while data := await output.read(65536):
                self._lines.feed(decoder.decode(data))
                if log is not None:
                    # A full disk is no reason to stop serving.
                    with suppress(OSError):
                        await asyncio.to_thread(log.write, data)
        finally:
            if log is not None:
                with suppress(OSError):
                    await asyncio.to_thread(log.close)


def _open(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb", buffering=0)


def _inherited(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(OURS)}
