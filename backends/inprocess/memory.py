"""Memory that a model no longer needs, given back to the machine and the device."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Collect what is not referred to, and have the allocators return what they hold in reserve. Blocks.

    Networks are full of reference cycles; CUDA's allocator in PyTorch and the C library's keep what they once had.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim()


def trim() -> None:
    """Have the C library return what it holds in reserve, as after work that needed much for a while. Blocks."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if malloc_trim is not None:
        malloc_trim(0)
