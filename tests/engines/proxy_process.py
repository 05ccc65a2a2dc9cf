"""The proxy as its users run it: a process of its own, configured by a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.command import served


@contextmanager
def proxy_process(config: str, directory: Path) -> Iterator[str]:
    """Serve this TOML configuration on a free port; yields the base URL, without /v1. Its log is `proxy.log` there."""
    file = directory / "switchboard.toml"
    file.write_text(config, encoding="utf-8")
    with served(
        directory / "proxy.log",
        SWITCHBOARD_CONFIG=str(file),
        SWITCHBOARD_DATA=str(directory / "data"),
        SWITCHBOARD_DRAIN_SECONDS="1",
    ) as command:
        yield command.url
