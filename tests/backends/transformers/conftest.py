"""The shipped nano chat model, and small random models of other architectures."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import torch
import transformers

import backends
from backends.base import EngineSpec, ModelSpec
from backends.transformers.backend import TransformersBackend
from backends.transformers.loading import load
from backends.transformers.model import Model

NANO = Path(backends.__file__).parent / "nano" / "chat"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def nano() -> ModelSpec:
    return ModelSpec(source=str(NANO))


@pytest.fixture(scope="session")
def nano_model() -> Model:
    return load(NANO, device="cpu", compute_type="default")


@pytest.fixture
async def backend(nano: ModelSpec) -> AsyncIterator[TransformersBackend]:
    backend = TransformersBackend(EngineSpec(name="here", kind="transformers", device="cpu"), active=2)
    await backend.load(nano, lambda _: None)
    yield backend
    await backend.close()


@pytest.fixture
def random_model(tmp_path: Path) -> Callable[[str], Path]:
    """Makes the directory of a small untrained model of an architecture, with nano's tokenizer and no chat template."""

    def make(architecture: str) -> Path:
        torch.manual_seed(7)
        tokens = {"vocab_size": 1024, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 128}
        grouped = {**shape, "intermediate_size": 64, "num_key_value_heads": 1, "head_dim": 16}
        configs: dict[str, dict[str, int]] = {
            "gpt2": {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 128},
            "qwen2": grouped,
            "gemma3_text": {**grouped, "num_hidden_layers": 6, "sliding_window": 8},
            "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
            "rwkv": {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
        }
        config = transformers.AutoConfig.for_model(architecture, **configs[architecture], **tokens)
        network = transformers.AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for weights in network.parameters():
                if weights.dim() > 1:
                    weights.mul_(3)
        network.save_pretrained(tmp_path)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(NANO / name, tmp_path / name)
        return tmp_path

    return make
