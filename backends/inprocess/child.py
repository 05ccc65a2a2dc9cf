"""A worker process as the proxy sees it: exchanges with it, until one of the two ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TypeAlias, cast

from backends.base import EngineSpec
from backends.errors import BackendError, Unavailable
from backends.inprocess.frames import Frames
from backends.inprocess.wire import Message, pack

ROOT = Path(__file__).parents[2]
Reply: TypeAlias = tuple[str, object]


class WorkerDied(Unavailable):
    """The process ended in the midst of an exchange."""


class Child:
    """One process. on_death is called once, before any exchange learns of it, unless the process was told to end."""

    def __init__(
        self, process: subprocess.Popen[bytes], frames: Frames, name: str, on_death: Callable[[Child], None]
    ) -> None:
        self._process = process
        self._frames = frames
        self._name = name
        self._on_death = on_death
        self._inboxes: dict[int, asyncio.Queue[Reply]] = {}
        self._number = 0
        self._told = False
        self._reading = asyncio.create_task(self._read())
        self._watching: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, inner: str, spec: EngineSpec, *, patience: float, on_death: Callable[[Child], None]) -> Child:
        """A process with its backend made. patience: seconds that its event loop may be silent before it counts as hung."""
        ours, theirs = socket.socketpair()
        spawning = asyncio.ensure_future(asyncio.to_thread(_spawn, theirs))
        try:
            process = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            ours.close()  # at which it ends
            await asyncio.to_thread((await spawning).wait)
            raise
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        child = cls(process, Frames(reader, writer), spec.name, on_death)
        try:
            await child.call("start", (inner, spec))
        except BaseException:
            await child.stop()
            raise
        child._watching = asyncio.create_task(child._watch(patience))
        return child

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def ending(self) -> str:
        """How the process ended, for a log; "still runs" while it has not."""
        code = self._process.returncode
        if code is None:
            return "still runs"
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"

    async def call(
        self, verb: str, payload: object = None, on_item: Callable[[object], None] = lambda _: None
    ) -> object:
        """The result of a verb. Raises what the backend raises, WorkerDied when the process ends meanwhile."""
        result: object = None
        async with aclosing(self.exchange(verb, pack(payload))) as replies:
            async for kind, value in replies:
                if kind == "item":
                    on_item(value)
                result = value
        return result

    async def exchange(self, verb: str, packed: bytes) -> AsyncGenerator[Reply, None]:
        """The replies to a verb: any "item"s, then "done". Closing it stops the work and waits for that. Raises as call does."""
        self._number += 1
        number = self._number
        inbox = self._inboxes[number] = asyncio.Queue()
        ended = False
        try:
            if self._reading.done():
                raise self._died()
            self._frames.post(pack((number, verb, packed)))
            while not ended:
                kind, value = await inbox.get()
                ended = kind != "item"
                if isinstance(value, BackendError):
                    raise value
                yield kind, value
        finally:
            if not ended and not self._reading.done():
                self._frames.post(pack((number, "cancel", pack(None))))
                while (await inbox.get())[0] == "item":
                    pass
            del self._inboxes[number]

    async def stop(self) -> None:
        """Hang up, which ends the process; and see that it has."""
        self._told = True
        if self._watching is not None:
            self._watching.cancel()
        self._frames.close()
        try:
            await asyncio.wait_for(asyncio.shield(self._reading), 10)
        except TimeoutError:
            self._process.kill()
            await self._reading

    async def _read(self) -> None:
        async for message in self._frames.received():
            number, kind, value = cast("Message", message)
            if number in self._inboxes:
                self._inboxes[number].put_nowait((kind, value))
        self._frames.close()
        if not self._told:
            self._process.kill()  # what closed the stream but goes on is of no use
        await asyncio.to_thread(self._process.wait)
        if self._watching is not None:
            self._watching.cancel()
        if not self._told:
            self._on_death(self)
        for inbox in self._inboxes.values():
            inbox.put_nowait(("error", self._died()))

    async def _watch(self, patience: float) -> None:
        """Kill the process when its event loop is stuck: nothing else would end the requests that wait for it."""
        while True:
            await asyncio.sleep(patience / 4)
            ping = asyncio.create_task(self.call("ping"))
            if not (await asyncio.wait({ping}, timeout=patience))[0]:
                self._process.kill()
            await asyncio.gather(ping, return_exceptions=True)

    def _died(self) -> WorkerDied:
        return WorkerDied(f"The worker process of {self._name} {self.ending}; try again.", retry_after=1.0)


def _spawn(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """The process at the other end of the socket. What libraries print goes to the log, and never where an answer goes."""
    with theirs:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return subprocess.Popen(
            [sys.executable, "-m", "backends.inprocess.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=sys.__stderr__,
            env={**os.environ, "PYTHONPATH": path},
        )
