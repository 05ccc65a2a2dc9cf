"""The GPU that models of this process run on, and those of engines beside it, as the driver's own library (NVML) sees them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

import pynvml

MB = 1e6


@dataclass(frozen=True, slots=True)
class Gpu:
    """Memory in MB (10^6 bytes), of all processes; load: percent of the last moments in which it computed."""

    total: float
    used: float
    load: float | None = None

    @property
    def free(self) -> float:
        """What can still be had."""
        return self.total - self.used


def read_gpu() -> Gpu | None:
    """The first GPU that this process may use; None where there is no driver or no such device. Blocks for milliseconds."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return _read(_device(os.environ.get("CUDA_VISIBLE_DEVICES")))
    except (pynvml.NVMLError, ValueError):
        return None
    finally:
        pynvml.nvmlShutdown()


def read_other_gpus() -> dict[str, Gpu]:
    """All GPUs but that one, as `cuda:1` for number 1. Blocks for milliseconds."""
    found: dict[str, Gpu] = {}
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return found
    try:
        first = None
        with suppress(ValueError):
            first = pynvml.nvmlDeviceGetIndex(_device(os.environ.get("CUDA_VISIBLE_DEVICES")))
        for number in range(pynvml.nvmlDeviceGetCount()):
            if number != first:
                found[f"cuda:{number}"] = _read(pynvml.nvmlDeviceGetHandleByIndex(number))
    except pynvml.NVMLError:
        return found
    finally:
        pynvml.nvmlShutdown()
    return found


def _read(device: object) -> Gpu:
    memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    load = None
    with suppress(pynvml.NVMLError):  # not told for a slice of a GPU
        load = float(pynvml.nvmlDeviceGetUtilizationRates(device).gpu)
    return Gpu(memory.total / MB, memory.used / MB, load)


def _device(visible: str | None) -> object:
    """The handle of CUDA's device 0. Raises ValueError when none is visible."""
    if visible is None:
        return pynvml.nvmlDeviceGetHandleByIndex(0)
    first = visible.split(",")[0].strip()
    if not first or first == "-1":
        raise ValueError("no device is visible")
    if first.isdigit():
        return pynvml.nvmlDeviceGetHandleByIndex(int(first))
    return pynvml.nvmlDeviceGetHandleByUUID(first)
