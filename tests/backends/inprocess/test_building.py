from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import backends
from backends.inprocess.conversion import converted
from backends.transformers.loading import load

NANO = Path(backends.__file__).parent / "nano"


def test_models_that_are_wanted_at_once_load_as_if_they_were_alone(tmp_path: Path) -> None:
    def convert(number: int) -> bytes:
        store = tmp_path / str(number)
        directory = converted(NANO / "whisper", store=store, quantization=None, copy=[], report=lambda _: None)
        return (directory / "model.bin").read_bytes()

    def read(_: int) -> int:
        return len(load(NANO / "chat", device="cpu", compute_type="default").defaults)

    with ThreadPoolExecutor(4) as pool:
        works = [pool.submit(work, number) for number in range(4) for work in (convert, read)]
        answers = [work.result() for work in works]
    assert len(set(answers)) == 2
