"""Models of this process: each has a tiny request to try it with, leaves the memory whole, and can come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil
import pytest
import torch
import transformers

import backends
from backends.base import Backend, EngineSpec, ModelSpec, Probing
from backends.errors import Unavailable

NANO = Path(backends.__file__).parent / "nano"
KINDS = {"transformers": NANO / "chat", "whisper": NANO / "whisper", "translation": NANO / "translate"}
MB = 1e6


async def make_backend(kind: str, data: Path, isolation: Literal["thread", "process"] = "thread") -> Backend:
    spec = EngineSpec(name=kind, kind=kind, device="cpu", data=data, isolation=isolation)
    return await asyncio.to_thread(backends.create, spec)


async def try_out(backend: Backend, model: ModelSpec) -> int:
    """How many events its own tiny request gives."""
    assert isinstance(backend, Probing)
    request = await backend.probe(model)
    assert request is not None
    return len([event async for event in backend.run(model, request)])


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_model_serves_leaves_and_comes_back(
    kind: str, isolation: Literal["thread", "process"], tmp_path: Path
) -> None:
    model = ModelSpec(source=str(KINDS[kind]))
    backend = await make_backend(kind, tmp_path, isolation)
    for _ in range(2):
        await backend.load(model, lambda _: None)
        assert await try_out(backend, model)
        await backend.unload(model)
        with pytest.raises(Unavailable):
            await try_out(backend, model)
    await backend.unload(model)
    await backend.close()


def large_chat(directory: Path) -> None:
    """100 MB of random weights, with the shipped model's tokenizer."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(KINDS["transformers"])
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_embd=512, n_layer=8, n_head=8, bos_token_id=1)
    transformers.GPT2LMHeadModel(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def large_whisper(directory: Path) -> None:
    """100 MB of random weights, with the shipped model's tokenizer."""
    small = transformers.WhisperConfig.from_pretrained(KINDS["whisper"])
    small.update({"d_model": 512, "encoder_layers": 4, "decoder_layers": 3, "encoder_ffn_dim": 2048})
    small.update({"encoder_attention_heads": 8, "decoder_attention_heads": 8, "decoder_ffn_dim": 2048})
    transformers.WhisperForConditionalGeneration(small).save_pretrained(directory)
    for file in KINDS["whisper"].iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            (directory / file.name).write_bytes(file.read_bytes())


@pytest.mark.parametrize(("kind", "write"), [("transformers", large_chat), ("whisper", large_whisper)])
async def test_what_a_model_held_is_free_again(kind: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    torch.manual_seed(1)
    write(tmp_path / "large")
    held = sum(file.stat().st_size for file in (tmp_path / "large").glob("*.safetensors")) / MB
    model, small = ModelSpec(source=str(tmp_path / "large")), ModelSpec(source=str(KINDS[kind]))
    backend = await make_backend(kind, tmp_path / "data")
    # What the libraries take once, and a conversion, are not the model's.
    await backend.load(small, lambda _: None)
    assert await try_out(backend, small)
    await backend.load(model, lambda _: None)
    await backend.unload(model)

    def resident() -> float:
        return float(psutil.Process().memory_info().rss / MB)

    before = resident()
    await backend.load(model, lambda _: None)
    assert await try_out(backend, model)
    full = resident()
    await backend.unload(model)
    after = resident()
    await backend.close()
    assert held > 80
    # A heap that earlier tests have used gives and takes less than a model's size at a time.
    assert full - before > 0.3 * held
    assert after - before < 0.3 * (full - before) + 0.3 * held
