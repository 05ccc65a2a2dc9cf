"""Engines load at the same time without spoiling one another's models, or the answers of those that compute."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from transformers import modeling_utils
from transformers.utils import logging

import backends
from backends.inprocess.checkpoints import Gate, computing, computing_in_turns, reading
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


def test_who_computes_sees_nothing_of_a_load_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    set_dtype, set_to, seen = torch.set_default_dtype, list[torch.dtype](), set[torch.dtype]()

    def noted(dtype: torch.dtype) -> None:
        set_to.append(dtype)
        set_dtype(dtype)
        if dtype != torch.float32:
            looked.clear()
            looked.wait(0.2)

    monkeypatch.setattr(torch, "set_default_dtype", noted)
    looked, loaded = threading.Event(), threading.Event()

    def compute() -> None:
        while not loaded.is_set():
            with computing():
                seen.add(torch.zeros(1).dtype)
                looked.set()

    with ThreadPoolExecutor(2) as threads:
        computed = threads.submit(compute)
        loading = threads.submit(load, NANO / "chat", device="cpu", compute_type="bfloat16")
        loading.add_done_callback(lambda _: loaded.set())
    computed.result()
    assert {weights.dtype for weights in loading.result().network.parameters()} == {torch.bfloat16}
    assert torch.bfloat16 in set_to, "the library does not do this any more: the gate can go"
    assert seen == {torch.float32}


def test_work_of_many_passes_lets_a_load_in_between_two_of_them() -> None:
    laid_out, seen = threading.Event(), list[torch.dtype]()

    def compute() -> None:
        with computing_in_turns() as give_way:
            while not laid_out.is_set():
                seen.append(torch.zeros(1).dtype)
                give_way()

    def lay_out() -> None:
        with reading(), modeling_utils.local_torch_dtype(torch.float16, "Any"):
            laid_out.set()

    with ThreadPoolExecutor(2) as threads:
        for work in [threads.submit(compute), threads.submit(lay_out)]:
            work.result(timeout=30)
    assert set(seen) == {torch.float32}


def test_a_load_prints_nothing_and_leaves_the_library_s_logging_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for file in (NANO / "chat").iterdir():
        config = file.read_bytes()
        if file.name == "config.json":
            config = config.replace(b'"num_hidden_layers": 4', b'"num_hidden_layers": 3')
        (tmp_path / file.name).write_bytes(config)
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load(tmp_path, device="cpu", compute_type="default")
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_a_closed_gate_lets_nobody_in_until_the_outermost_closing_ends() -> None:
    gate, inside = Gate(), threading.Event()

    def enter() -> None:
        with gate.passed():
            inside.set()

    with ThreadPoolExecutor(1) as threads:
        with gate.closed():
            with gate.closed():
                entered = threads.submit(enter)
            assert not inside.wait(0.05)
        entered.result(5.0)
