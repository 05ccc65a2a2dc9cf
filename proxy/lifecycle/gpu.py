"""The GPU that models of this process run on, as the driver's own library (NVML) sees it."""

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
        device = _device(os.environ.get("CUDA_VISIBLE_DEVICES"))
        memory = pynvml.nvmlDeviceGetMemoryInfo(device)
        load = None
        with suppress(pynvml.NVMLError):  # not told for a slice of a GPU
            load = float(pynvml.nvmlDeviceGetUtilizationRates(device).gpu)
        return Gpu(memory.total / MB, memory.used / MB, load)
    except (pynvml.NVMLError, ValueError):
        return None
    finally:
        pynvml.nvmlShutdown()


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
