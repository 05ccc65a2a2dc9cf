"""What tells one load of a model from another."""

from __future__ import annotations

from dataclasses import replace

from backends.base import EngineSpec, ModelSpec, placed

ENGINE = EngineSpec(name="e", kind="whisper", device="auto", compute_type="int8")
MODEL = ModelSpec(source="s")


def test_a_model_may_be_loaded_in_its_own_way() -> None:
    assert placed(ENGINE, MODEL) == ENGINE
    own = replace(MODEL, device="cpu", compute_type="float32", cpu_threads=2)
    assert placed(ENGINE, own) == replace(ENGINE, device="cpu", compute_type="float32", cpu_threads=2)
    assert own == MODEL


def test_loads_side_by_side_are_told_apart() -> None:
    assert replace(MODEL, variant="cpu-int8") != MODEL
