"""How an engine is started and stopped by whoever serves its models: values, as configured."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

PORT = "{port}"
"""Stands for the port in a command: the one to listen on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A program of this machine. command: with PORT in it; env: beside what it inherits; log: where its output goes, too."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container of a Docker engine.

    socket: the engine's URL; service, project: of docker compose, whose container is started and stopped and never made; else
    one is made of image: gpus: `all`, or their numbers or ids; shm_mb: of shared memory; port: that it listens on, within.
    """

    socket: str
    service: str | None = None
    project: str | None = None
    image: str | None = None
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()
    shm_mb: int | None = None
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    network: str | None = None
    port: int = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """When an engine starts and stops. Times in seconds, memory in MB (10^6 bytes); None = not said.

    flags: its command takes vLLM's options, so that more can be added; idle: unused so long, it rests; sleep: the deepest level
    at which it may sleep then, 0 = it stops; stop_after: unused so long, it stops though it could sleep on; start: that it
    may take to serve; grace: that it has to end by itself; evict_cost: what it costs to have it make room, None = as long as
    it takes to start; memory_mb: that it holds, at least; device: where it holds that: cpu, cuda, or cuda:1 for the GPU of that
    number; auto = on the GPU of the proxy's own models, where there is one.
    """

    by: Process | Container
    flags: bool = False
    device: str = "auto"
    idle: float | None = None
    sleep: Literal[0, 1, 2] = 0
    stop_after: float | None = None
    start: float = 900.0
    grace: float = 30.0
    memory_mb: float | None = None
    evict_cost: float | None = None

    @property
    def digest(self) -> str:
        """What tells two engines apart that are not started the same way; no secret can be read from it."""
        return hashlib.sha256(repr(self.by).encode()).hexdigest()[:16]
