"""Is there a CUDA device? Asked of the driver itself, so that a proxy of remote engines imports no framework for it."""

from __future__ import annotations

import ctypes


def device_count() -> int:
    """How many CUDA devices this process may use; 0 where there is no driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value
