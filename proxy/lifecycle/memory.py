"""How much memory there is, how much is in use, and how much of it is ours: read from the kernel and the driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from proxy.lifecycle.gpu import Gpu, read_gpu, read_other_gpus

MB = 1e6
_V2 = ("memory.max", "memory.current")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


@dataclass(frozen=True, slots=True)
class Room:
    """Memory in MB (10^6 bytes): of the machine, or of the container where that has less; ours: of this process and its children.

    gpu: the device that models of this process run on, None where there is none; more: other GPUs, on which engines may run.
    """

    total: float
    available: float
    ours: float
    gpu: Gpu | None = None
    more: Mapping[str, Gpu] = field(default_factory=dict)

    @property
    def used(self) -> float:
        """What others cannot have."""
        return self.total - self.available

    def available_on(self, device: str) -> float:
        """What a model on this device can have."""
        gpu = self.gpu_of(device)
        return self.available if gpu is None else gpu.free

    def held_on(self, device: str) -> float:
        """What grows when a model is loaded there; on a GPU, the device's memory, whoever else uses it."""
        gpu = self.gpu_of(device)
        return self.ours if gpu is None else gpu.used

    def gpu_of(self, device: str) -> Gpu | None:
        """The GPU of this name; None for the host, and for one that is not there."""
        return self.gpu if device == "cuda" else self.more.get(device)


def read_room(cgroup: Path = Path("/sys/fs/cgroup")) -> Room:
    """The memory as it is now. Blocks for a millisecond or so."""
    machine = psutil.virtual_memory()
    total, available = float(machine.total), float(machine.available)
    limit = _container(cgroup)
    if limit is not None and limit[0] < total:
        total, available = limit[0], min(available, max(0.0, limit[0] - limit[1]))
    return Room(total / MB, available / MB, _ours() / MB, read_gpu(), read_other_gpus())


def _ours() -> int:
    """Bytes resident of this process and of its children, in which engines may run."""
    us = psutil.Process()
    total = int(us.memory_info().rss)
    for child in us.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _container(cgroup: Path) -> tuple[float, float] | None:
    """Limit and use of the container in bytes, None where there is no limit; what caches files can be had back."""
    for directory, (limit_name, used_name) in ((cgroup, _V2), (cgroup / "memory", _V1)):
        try:
            limit = (directory / limit_name).read_text().strip()
            used = float((directory / used_name).read_text())
            cached = _cached((directory / "memory.stat").read_text())
        except (OSError, ValueError):
            continue
        return None if limit == "max" else (float(limit), max(0.0, used - cached))
    return None


def _cached(stat: str) -> float:
    fields = dict(line.split() for line in stat.splitlines() if line)
    return float(fields.get("total_inactive_file", fields.get("inactive_file", 0)))
