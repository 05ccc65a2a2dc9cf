"""Memory that a model no longer needs, given back to the machine and the device."""

from __future__ import annotations

import ctypes
import gc
import sys
import time

# A collection that another thread has begun is over within moments, unless what it frees waits for something.
MOST_TRIES = 100
PAUSE_SECONDS = 0.01


def give_back() -> None:
    """Collect what is not referred to, and have the allocators return what they hold in reserve. Blocks.

    Networks are full of reference cycles; CUDA's allocator in PyTorch and the C library's keep what they once had.
    """
    collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim()


def collect() -> None:
    """Collect everything that is not referred to. Blocks.

    While another thread collects, if only the youngest objects, gc.collect() comes back with nothing done.
    """
    for _ in range(MOST_TRIES):
        before = _collections()
        gc.collect()
        if _collections() > before:
            return
        time.sleep(PAUSE_SECONDS)


def _collections() -> int:
    """How many collections of everything there were."""
    return int(gc.get_stats()[-1]["collections"])


def trim() -> None:
    """Have the C library return what it holds in reserve, as after work that needed much for a while. Blocks."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if malloc_trim is not None:
        malloc_trim(0)
