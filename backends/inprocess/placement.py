"""Where PyTorch computes, and in which arithmetic."""

from __future__ import annotations

import torch
from transformers import PretrainedConfig

from backends.errors import NoDevice

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def choose_device(wish: str) -> str:
    """The device for a wish of auto, cpu, cuda or cuda:N. Raises NoDevice when it is not there."""
    if wish == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = wish.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise NoDevice(f"device is {wish!r} and this machine has no usable CUDA device; set device to cpu or auto.")
    if kind == "cuda" and (number or "0").isdigit() and int(number or "0") < torch.cuda.device_count():
        return wish
    if wish == "cpu":
        return wish
    raise NoDevice(f"device {wish!r} is not there; set it to auto, cpu or cuda.")


def choose_dtype(compute_type: str, config: PretrainedConfig, device: str) -> torch.dtype:
    """The data type for a compute_type: default is what the checkpoint is stored in, float32 where a CPU would compute in
    float16. Raises NoDevice for a type that PyTorch's networks do not run in.
    """
    if compute_type in DTYPES:
        return DTYPES[compute_type]
    if compute_type != "default":
        raise NoDevice(f"compute_type {compute_type!r} is none of default, {', '.join(DTYPES)}.")
    stored = config.get_text_config(decoder=True).dtype or torch.float32
    return torch.float32 if device == "cpu" and stored == torch.float16 else stored
