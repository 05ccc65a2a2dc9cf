from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from backends.base import ModelSpec
from backends.errors import BackendError, Unavailable, Unsupported
from backends.inprocess.placement import choose_device
from backends.transformers.loading import load
from backends.transformers.model import Model


def test_half_precision_weights_are_computed_in_float32_on_a_cpu(nano_model: Model) -> None:
    assert {weights.dtype for weights in nano_model.network.parameters()} == {torch.float32}


def test_a_compute_type_asked_for_is_taken(nano: ModelSpec) -> None:
    model = load(Path(nano.source), device="cpu", compute_type="bfloat16")

    assert {weights.dtype for weights in model.network.parameters()} == {torch.bfloat16}


def test_facts_come_from_the_model(nano_model: Model) -> None:
    assert (nano_model.context, nano_model.vocabulary, nano_model.ends) == (2048, 1024, frozenset({2}))
    assert nano_model.defaults["max_new_tokens"] == 256


def test_several_end_tokens_all_end(random_model: Callable[[str], Path]) -> None:
    directory = random_model("gpt2")
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 6]}))

    assert load(directory, device="cpu", compute_type="default").ends == {2, 5, 6}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_where_there_is_none_is_told_in_one_line() -> None:
    with pytest.raises(Unavailable, match="'cuda' and this machine has no usable CUDA device; set device to cpu"):
        choose_device("cuda")
    assert choose_device("auto") == "cpu"


@pytest.mark.parametrize("wish", ["gpu", "cpu:x", ""])
def test_a_device_that_is_none_is_told(wish: str) -> None:
    with pytest.raises(Unavailable, match="set it to auto, cpu or cuda"):
        choose_device(wish)


def test_a_compute_type_that_is_none_is_told(nano: ModelSpec) -> None:
    with pytest.raises(Unavailable, match="'int8' is none of default, float32"):
        load(Path(nano.source), device="cpu", compute_type="int8")


def test_a_model_that_keeps_no_cache_is_told(random_model: Callable[[str], Path]) -> None:
    with pytest.raises(Unavailable, match="RwkvForCausalLM has no cache"):
        load(random_model("rwkv"), device="cpu", compute_type="default")


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("no_such_architecture", Unavailable, "does not load as a language model"),
        ("whisper", Unsupported, "writes no text"),
        ("clip", Unsupported, "writes no text"),
    ],
)
def test_a_directory_that_is_no_language_model_is_told(
    tmp_path: Path, kind: str, error: type[BackendError], words: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))

    with pytest.raises(error, match=words) as told:
        load(tmp_path, device="cpu", compute_type="default")
    assert str(tmp_path) not in told.value.message, "callers get to see it"


def test_a_network_for_another_purpose_writes_no_text(random_model: Callable[[str], Path]) -> None:
    directory = random_model("gpt2")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "architectures": ["GPT2ForSequenceClassification"]}))

    with pytest.raises(Unsupported, match="writes no text"):
        load(directory, device="cpu", compute_type="default")


def test_pickled_weights_are_not_read(random_model: Callable[[str], Path]) -> None:
    directory = random_model("gpt2")
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")

    with pytest.raises(Unavailable, match="safetensors"):
        load(directory, device="cpu", compute_type="default")


def test_a_damaged_file_is_told(random_model: Callable[[str], Path]) -> None:
    directory = random_model("gpt2")
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])

    with pytest.raises(Unavailable, match="does not load as a language model"):
        load(directory, device="cpu", compute_type="default")
