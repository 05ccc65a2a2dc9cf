"""Tiny models, each made once, and their pipelines, each loaded once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers.utils import logging

from backends.pipelines import tasks
from backends.pipelines.loading import load
from backends.pipelines.running import Running
from backends.types import Infer, Json
from tests.backends.pipelines.tiny import Make, made

Directory = Callable[[Make | Path], Path]
Run = Callable[[Make | Path, Infer], Json]


@pytest.fixture(scope="session", autouse=True)
def quiet() -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Directory:
    """The directory of a tiny model."""

    @cache
    def find(make: Make | Path) -> Path:
        return make if isinstance(make, Path) else made(tmp_path_factory.mktemp("model"), make)

    return find


@pytest.fixture(scope="session")
def run(directory: Directory) -> Run:
    """Runs a request on a tiny model, as the backend does; returns the result as a client reads it."""

    @cache
    def running(make: Make | Path, task: str) -> Running:
        pipeline = load(task, directory(make), label="tiny", device="cpu", compute_type="default")
        return Running("tiny", pipeline, max_audio_seconds=5)

    def run(make: Make | Path, request: Infer) -> Json:
        asked = tasks.check(request)
        result: Json = json.loads(running(make, asked.task.name).run(asked, threading.Event()))
        return result

    return run
