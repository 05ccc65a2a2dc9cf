"""How much of the disk models take."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

MB = 1e6


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
