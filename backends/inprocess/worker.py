"""The process in which a backend runs on its own: `python -m backends.inprocess.worker FD`, started by isolation.py."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from importlib import import_module
from typing import cast

from backends.base import Backend, EngineSpec, ModelSpec, Probing, Progress
from backends.errors import BackendError, Broken, Unavailable
from backends.inprocess.frames import Frames
from backends.inprocess.wire import pack, unpack
from backends.types import Request

FAULT = "The engine failed in its worker process, whose log says why."


class Answers:
    """Does what the messages of the proxy ask for, each in a task of its own."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._made: Backend | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._verbs: dict[str, Callable[[int, object], Awaitable[object]]] = {
            "start": self._start,
            "load": self._load,
            "unload": self._unload,
            "health": self._health,
            "probe": self._probe,
            "run": self._run,
            "ping": self._pong,
        }

    def take(self, number: int, verb: str, payload: object) -> None:
        """Start what a message asks for, or stop what an earlier one of that number did."""
        if verb == "cancel":
            if task := self._tasks.get(number):
                task.cancel()
            return
        task = asyncio.create_task(self._answer(number, verb, payload))
        self._tasks[number] = task
        task.add_done_callback(lambda task: self._ended(number, task))

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        del self._tasks[number]
        if task.cancelled():  # maybe before its first step, so that it could not say so itself
            self._frames.post(pack((number, "done", None)))

    async def _answer(self, number: int, verb: str, payload: object) -> None:
        try:
            await self._frames.send((number, "done", await self._verbs[verb](number, payload)))
        except BackendError as error:
            await self._frames.send((number, "error", error))
        except ConnectionError:
            pass  # the proxy is gone, and this process with it
        except Exception:
            traceback.print_exc()
            await self._frames.send((number, "error", Broken(FAULT)))

    @property
    def _backend(self) -> Backend:
        assert self._made is not None, "the first message is start"
        return self._made

    async def _start(self, _: int, payload: object) -> None:
        self._made = await asyncio.to_thread(_make, *cast("tuple[str, EngineSpec]", payload))

    async def _load(self, number: int, payload: object) -> None:
        def report(progress: Progress) -> None:
            self._frames.post(pack((number, "item", progress)))

        await self._backend.load(cast("ModelSpec", payload), report)

    async def _unload(self, _: int, payload: object) -> None:
        await self._backend.unload(cast("ModelSpec", payload))

    async def _health(self, *_: object) -> object:
        return await self._backend.health()

    async def _probe(self, _: int, payload: object) -> object:
        backend = self._backend
        return await backend.probe(cast("ModelSpec", payload)) if isinstance(backend, Probing) else None

    async def _run(self, number: int, payload: object) -> None:
        model, request = cast("tuple[ModelSpec, Request]", payload)
        async with aclosing(self._backend.run(model, request)) as events:
            async for event in events:
                await self._frames.send((number, "item", event))

    async def _pong(self, *_: object) -> None:
        pass


async def serve(file: int) -> None:
    """Do what the proxy asks for until it hangs up; first of all, make the backend."""
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=file))
    frames = Frames(reader, writer)
    answers = Answers(frames)
    async for message in frames.received():
        number, verb, packed = cast("tuple[int, str, bytes]", message)
        answers.take(number, verb, unpack(packed))
    sys.stderr.flush()
    os._exit(0)  # at once: threads deep in a library would hold the process up for as long as they like


def _make(path: str, spec: EngineSpec) -> Backend:
    module, _, name = path.partition(":")
    try:
        return cast("Backend", getattr(import_module(module), name)(spec))
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"Engine `{spec.name}` ({spec.kind}) needs a package that is not installed: {error.name}. Install the extra "
            "`models`, or requirements/cpu.lock."
        ) from error


def main() -> None:
    """Serve on the socket whose number is the argument. Ends with the proxy, not with the signals that end that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    asyncio.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
