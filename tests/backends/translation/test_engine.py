"""How CTranslate2 is asked, and what becomes of its failures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import ctranslate2
import pytest

from backends.errors import Broken
from backends.translation.decoding import Decoding
from backends.translation.engine import CTranslate2Engine
from backends.translation.family import Framed

GREEDY = Decoding(beam_size=1, early_stopping=True, length_penalty=1.0, no_repeat_ngram_size=0, max_new_tokens=40)


class Failing:
    """In the place of ctranslate2.Translator: notes how it is made, and fails as told."""

    made: dict[str, object]
    error: Exception

    def __init__(self, _: str, **options: object) -> None:
        type(self).made = options

    def translate_batch(self, _: Sequence[list[str]], **options: object) -> None:
        raise self.error


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> type[Failing]:
    monkeypatch.setattr(ctranslate2, "Translator", Failing)
    return Failing


@pytest.fixture
def engine(failing: type[Failing], tmp_path: Path) -> CTranslate2Engine:
    (tmp_path / "config.json").write_text("{}")
    return CTranslate2Engine(tmp_path, device="cpu", compute_type="int8")


def test_lack_of_memory_is_told_as_it_is_so_that_fewer_sentences_are_tried(
    failing: type[Failing], engine: CTranslate2Engine
) -> None:
    failing.error = RuntimeError("CUDA failed with error out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        engine.search([Framed(("a", "</s>"))], GREEDY)


def test_any_other_failure_is_broken(failing: type[Failing], engine: CTranslate2Engine) -> None:
    failing.error = ValueError("internal words")
    with pytest.raises(Broken, match="smaller parts") as broken:
        engine.search([Framed(("a", "</s>"))], GREEDY)
    assert "internal" not in broken.value.message


@pytest.mark.parametrize(
    ("cores", "omp", "threads"), [(1, None, 1), (2, None, 1), (4, None, 3), (64, None, 4), (64, "8", 0)]
)
def test_threads_leave_a_core_to_others(
    cores: int,
    omp: str | None,
    threads: int,
    failing: type[Failing],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if omp is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", omp)
    (tmp_path / "config.json").write_text("{}")
    CTranslate2Engine(tmp_path, device="cpu", compute_type="int8")
    assert failing.made["intra_threads"] == threads
