"""A backend that dies as a request says: hosted by a worker process in test_isolation.py."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Callable

from backends.base import EngineSpec, Health, ModelSpec, Progress, Report
from backends.errors import Overloaded, Unsupported
from backends.types import Complete, Delta, Event, Request, Transcribe, Usage

DEADLY: dict[str, Callable[[], object]] = {
    "abort": os.abort,
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda: os._exit(3),
    "hang": lambda: time.sleep(3600),
}


class OwnWord(Overloaded):
    """A kind of error that only this backend knows."""


class CrashingBackend:
    """Answers a Complete prompt by its words: "count", "slow", "refuse", "bug", or one of DEADLY; audio by its length."""

    def __init__(self, spec: EngineSpec) -> None:
        if spec.name == "stillborn":
            os._exit(4)
        if spec.name == "endless":
            time.sleep(3600)
        self._loaded: set[ModelSpec] = set()

    async def load(self, model: ModelSpec, report: Report) -> None:
        """In three steps; a model named "deadly" ends the process."""
        for done in range(3):
            report(Progress("load", done, 3))
        if model.source == "deadly":
            os.abort()
        self._loaded.add(model)

    async def unload(self, model: ModelSpec) -> None:
        """At once."""
        self._loaded.discard(model)

    async def health(self) -> Health:
        """How many models there are."""
        return Health(True, f"{len(self._loaded)} loaded")

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """As the request says."""
        if model not in self._loaded:
            raise Unsupported("not loaded", param="model")
        if isinstance(request, Transcribe):
            yield Usage(len(request.audio), sum(request.audio))
            return
        assert isinstance(request, Complete)
        prompt = str(request.prompts[0])
        print("a library that prints")
        yield Delta(0, f"pid {os.getpid()}")
        if prompt == "refuse":
            raise OwnWord("too much", retry_after=2.5)
        if prompt == "bug":
            raise ZeroDivisionError
        if prompt.startswith("slow"):
            for number in range(10_000):
                yield Delta(0, str(number))
                await asyncio.sleep(0.005)
        DEADLY.get(prompt.split(maxsplit=1)[0], lambda: None)()

    async def close(self) -> None:
        """Nothing to give back."""
