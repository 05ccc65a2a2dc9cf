"""Which models make which pipelines, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from huggingface_hub import constants

from backends.base import EngineSpec, ModelSpec
from backends.errors import BackendError, NoDevice, NotCached, OutOfMemory, Unavailable, Unsupported
from backends.inprocess.hub import Hub
from backends.pipelines import loading
from backends.pipelines.backend import PipelinesBackend
from tests.backends.pipelines import tiny, tiny_senses
from tests.backends.pipelines.conftest import Directory
from tests.backends.pipelines.tiny import NANO

MASKED = tiny.bert("ForMaskedLM")


def load(task: str, directory: Path, *, device: str = "cpu", compute_type: str = "default") -> object:
    return loading.load(task, directory, label="org/m", device=device, compute_type=compute_type)


@pytest.mark.parametrize(
    ("task", "make", "offer"),
    [
        ("text-classification", MASKED, "org/m (BertForMaskedLM) cannot do `text-classification`"),
        ("text-generation", tiny_senses.vit, "It does: image-classification"),
        ("summarization", MASKED, "It does: fill-mask"),
        ("fill-mask", tiny.gpt2, "conversational, decision, text-generation"),
        ("automatic-speech-recognition", tiny.gpt2, "It does: conversational, decision, text-generation"),
        ("question-answering", tiny.bert("ForSequenceClassification"), "text-classification, zero-shot-classification"),
    ],
)
def test_a_model_that_was_not_trained_for_the_task_is_refused_with_what_it_does(
    task: str, make: tiny.Make, offer: str, directory: Directory
) -> None:
    with pytest.raises(Unsupported) as refused:
        load(task, directory(make))
    assert offer in refused.value.message
    assert refused.value.param == "model"


def copied(directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(directory, tmp_path / "model"))


def test_models_that_are_none_of_transformers_are_refused(directory: Directory, tmp_path: Path) -> None:
    model = copied(directory(MASKED), tmp_path)
    config = model / "config.json"
    config.write_text(json.dumps({"model_type": "of-tomorrow"}))
    with pytest.raises(Unsupported, match=r"architecture that transformers .* does not know"):
        load("fill-mask", model)
    config.unlink()
    with pytest.raises(Unsupported, match="is no model of transformers"):
        load("fill-mask", model)


@pytest.mark.parametrize("damage", ["weights", "config", "tokenizer"])
def test_damaged_files_are_told_without_their_paths(damage: str, directory: Directory, tmp_path: Path) -> None:
    model = copied(directory(MASKED), tmp_path)
    if damage == "tokenizer":
        for file in model.glob("tokenizer*"):
            file.unlink()
    else:
        file = model / {"weights": "model.safetensors", "config": "config.json"}[damage]
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(BackendError) as refused:
        load("fill-mask", model)
    assert "org/m" in refused.value.message
    assert str(tmp_path) not in refused.value.message


def test_models_that_need_another_model_are_refused(tmp_path: Path) -> None:
    transformers.SpeechT5Config().save_pretrained(tmp_path)
    with pytest.raises(Unsupported, match="makes spectrograms"):
        load("text-to-audio", tmp_path)


def test_devices_and_arithmetic(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NoDevice):
        load("fill-mask", directory(MASKED), device="cuda")
    with pytest.raises(NoDevice):
        load("fill-mask", directory(MASKED), compute_type="int8")
    pipeline = loading.load("fill-mask", directory(MASKED), label="m", device="auto", compute_type="bfloat16")
    assert (pipeline.dtype, pipeline.device.type) == (torch.bfloat16, "cpu")


def test_too_little_memory_is_told_as_such(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loading, "_network", full)
    with pytest.raises(OutOfMemory, match="unload other models"):
        load("fill-mask", directory(MASKED))


# --------------------------------------------------------------------------- through the hub


async def loaded(source: Path | str, task: str | None) -> None:
    backend = PipelinesBackend(EngineSpec(name="any", kind="pipelines", device="cpu"), Hub())
    try:
        await backend.load(ModelSpec(source=str(source), task=task, name="org/m"), lambda _: None)
    finally:
        await backend.close()


async def test_code_and_pickles_are_refused(directory: Directory, tmp_path: Path) -> None:
    model = copied(directory(MASKED), tmp_path)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "code.Model"}}))
    with pytest.raises(Unavailable, match="code of its own"):
        await loaded(model, "fill-mask")
    (model / "config.json").write_text(json.dumps(config))
    torch.save({}, model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    with pytest.raises(Unavailable, match="no weights as safetensors"):
        await loaded(model, "fill-mask")


async def test_a_pipeline_needs_a_task() -> None:
    with pytest.raises(Unsupported, match="has no task"):
        await loaded(NANO / "chat", None)
    with pytest.raises(Unsupported, match="There is no task `sing`"):
        await loaded(NANO / "chat", "sing")


async def test_of_a_hub_model_it_is_the_choice_that_is_wrong(
    directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tiny.cached(tmp_path, org__coded=directory(MASKED))
    (config,) = home.rglob("config.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {"AutoModel": "code.Model"}}))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    with pytest.raises(Unsupported, match="code of its own"):
        await loaded("org/coded", "fill-mask")
    with pytest.raises(NotCached):
        await loaded("org/absent", "fill-mask")
