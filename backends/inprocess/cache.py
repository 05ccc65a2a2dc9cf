"""The hub's cache on the disk, looked into without the hub's library, which is large."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from backends.inprocess.ids import is_model_id

COMMIT = re.compile("[0-9a-f]{40}")


def hub_cache(environment: Mapping[str, str]) -> Path:
    """Where the hub's client keeps what it downloads, found as it does: its import costs more than this is worth."""
    if own := environment.get("HF_HUB_CACHE"):
        return Path(own).expanduser()
    if home := environment.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache).expanduser() if cache else Path.home() / ".cache") / "huggingface" / "hub"


def cached(source: str, revision: str | None, cache: Path) -> Path | None:
    """The directory with what the cache has of a model of the hub, which may be a part of it; None = nothing. Blocks."""
    if not is_model_id(source):
        return None
    model = cache / f"models--{source.replace('/', '--')}"
    try:
        commit = (model / "refs" / (revision or "main")).read_text().strip()
    except (OSError, ValueError):
        commit = revision or ""
    found = model / "snapshots" / commit
    return found if COMMIT.fullmatch(commit) and found.is_dir() else None
