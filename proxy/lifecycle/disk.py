"""How much of the disk models take: the hub's cache and our own conversions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

MB = 1e6


def hub_cache(environment: Mapping[str, str]) -> Path:
    """Where the hub's client keeps what it downloads, found as it does: its import costs more than this is worth."""
    if own := environment.get("HF_HUB_CACHE"):
        return Path(own).expanduser()
    if home := environment.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache).expanduser() if cache else Path.home() / ".cache") / "huggingface" / "hub"


def used_mb(directories: Iterable[Path]) -> float:
    """MB on the disk of all files below, each counted once however many links lead to it. Blocks."""
    sizes: dict[tuple[int, int], int] = {}
    for directory in directories:
        for parent, _, names in os.walk(directory):
            for name in names:
                try:
                    stat = os.lstat(f"{parent}/{name}")
                except OSError:
                    continue  # gone meanwhile
                sizes[stat.st_dev, stat.st_ino] = stat.st_blocks * 512
    return sum(sizes.values()) / MB
