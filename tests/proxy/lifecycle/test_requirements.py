"""Whether a model fits, and what is said when it does not."""

from __future__ import annotations

import pytest

from backends.errors import NoDevice
from proxy.lifecycle.requirements import Need, arithmetic, needed_mb, nothing_known, refusal, refuse_arithmetic
from proxy.registry.catalog import read_catalog


@pytest.mark.parametrize(
    ("learned", "published", "weights", "computed", "mb"),
    [
        (300.0, 1000.0, 50.0, "int8", 300.0),
        (None, 1000.0, 50.0, "float32", 1000.0),
        (None, 1000.0, 50.0, "int8", 250.0),
        (None, None, 50.0, None, 50.0),
        (None, None, 50.0, "float16", 25.0),
        (None, None, None, "float32", None),
    ],
)
def test_measured_comes_before_published_before_weighed(
    learned: float | None, published: float | None, weights: float | None, computed: str | None, mb: float | None
) -> None:
    assert needed_mb(learned, published, weights, computed) == mb


def test_engines_compute_as_told_or_as_suits_the_device() -> None:
    assert arithmetic("whisper", "cpu", "default") == "float32"
    assert arithmetic("translation", "cpu", "default") == "int8"
    assert arithmetic("transformers", "cpu", "default") is None
    assert arithmetic("whisper", "cuda", "float16") == "float16"


@pytest.mark.parametrize(
    ("kind", "device", "compute_type"),
    [("whisper", "cpu", "float16"), ("translation", "cpu", "float16"), ("transformers", "cpu", "int8")],
)
def test_arithmetic_that_is_not_there_is_refused(kind: str, device: str, compute_type: str) -> None:
    with pytest.raises(NoDevice, match=r"in (int8|float16) or float32"):
        refuse_arithmetic(kind, device, compute_type)
    refuse_arithmetic("whisper", "cuda", "float16")
    refuse_arithmetic(kind, device, "float32")


def test_a_model_that_does_not_fit_comes_with_figures_and_ways_out() -> None:
    need = Need(label="`large`", source="openai/whisper-large-v3", device="cuda", int8=False, mb=6200.4)
    error = refusal(need, 6200.4, 1024.2, read_catalog())
    assert (error.required_mb, error.available_mb) == (6200, 1024)
    assert error.suggestions[:3] == ("Use CPU instead of GPU", "Try int8 quantization", "Use a smaller model variant")
    assert error.alternatives
    assert "openai/whisper-tiny" in error.alternatives
    assert "openai/whisper-large-v3" not in error.alternatives
    assert "`large`" in error.message
    assert "6200 MB of GPU memory" in error.message


async def test_what_would_not_help_is_not_suggested() -> None:
    need = Need(label="`m`", source="team/model", device="cpu", int8=True, mb=10.0)
    error = refusal(need, 10.0, 5.0, await nothing_known())
    assert not any("int8" in each or "CPU" in each for each in error.suggestions)
    assert error.alternatives == ()
