"""Engines load at the same time without spoiling one another's models."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import backends
from backends.inprocess.conversion import converted
from backends.transformers.loading import load

NANO = Path(backends.__file__).parent / "nano"


def test_models_of_three_engines_load_at_once(tmp_path: Path) -> None:
    def convert(name: str) -> Path:
        return converted(NANO / name, store=tmp_path / name, quantization=None, copy=(), report=lambda _: None)

    with ThreadPoolExecutor(4) as threads:
        chats = [threads.submit(load, NANO / "chat", device="cpu", compute_type="default") for _ in range(2)]
        conversions = [threads.submit(convert, name) for name in ("whisper", "translate")]
    assert all(chat.result().context == 2048 for chat in chats)
    assert all((conversion.result() / "model.bin").is_file() for conversion in conversions)
