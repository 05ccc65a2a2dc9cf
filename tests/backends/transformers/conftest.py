"""The shipped nano chat model, and small random models of other architectures."""

from __future__ import annotations

import json
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
        start = {"decoder_start_token_id": 3}
        halves = {
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_position_embeddings": 128,
            **start,
        }
        configs: dict[str, dict[str, int]] = {
            "gpt2": {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 128},
            "qwen2": grouped,
            "gemma3_text": {**grouped, "num_hidden_layers": 6, "sliding_window": 8},
            "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
            "rwkv": {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
            "t5": {"d_model": 32, "d_ff": 64, "d_kv": 16, "num_layers": 2, "num_heads": 2, **start},
            "bart": halves,
            "blenderbot": halves,
            "marian": halves,
            "pegasus": halves,
        }
        config = transformers.AutoConfig.for_model(architecture, **configs[architecture], **tokens)
        kind = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
        network = kind.from_config(config)
        with torch.no_grad():
            for weights in network.parameters():
                if weights.dim() > 1:
                    weights.mul_(3)
        network.save_pretrained(tmp_path)
        shutil.copy(NANO / "tokenizer.json", tmp_path)
        told = json.loads((NANO / "tokenizer_config.json").read_text())
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({**told, "chat_template": None}))
        return tmp_path

    return make
