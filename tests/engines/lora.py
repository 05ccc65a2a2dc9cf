"""A LoRA adapter for nano-chat, in the files that vLLM reads (PEFT's): small random weights, so that it says other things."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.engines.real_vllm import CHAT

RANK = 8
MODULES = ("q_proj", "v_proj", "o_proj")


def make_adapter(directory: Path) -> Path:
    """The directory, filled."""
    config = json.loads((CHAT / "config.json").read_text())
    size, generator = int(config["hidden_size"]), torch.Generator().manual_seed(1)
    weights = {}
    for layer in range(int(config["num_hidden_layers"])):
        for module in MODULES:
            stem = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            weights[f"{stem}.lora_A.weight"] = torch.randn(RANK, size, generator=generator)
            weights[f"{stem}.lora_B.weight"] = torch.randn(size, RANK, generator=generator)
    directory.mkdir(parents=True)
    save_file(weights, directory / "adapter_model.safetensors")
    about = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "nano-chat",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [*MODULES],
    }
    (directory / "adapter_config.json").write_text(json.dumps(about))
    return directory
