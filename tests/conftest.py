"""For every test: a clean environment, no hub, and an event loop that nobody blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings come from the test alone; conversions go to its own directory; the hub is out of reach."""
    for name in list(os.environ):
        if name.startswith(("SWITCHBOARD_", "LX_", "WHISPERX_", "DIARIZATION_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def hub_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the hub's client against a server of the test's own: HF_HUB_OFFLINE of the shell says nothing about loopback."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[BlockBuster]:
    """A test fails when package code blocks the event loop (a file read, a sleep, a lock)."""
    with blockbuster_ctx(scanned_modules=["proxy", "backends"]) as blockbuster:
        yield blockbuster
