"""A pipeline from a model's files: the network that the task calls for, and what reads inputs for it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias, cast

import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModelForTextToSpectrogram,
    AutoProcessor,
    AutoTokenizer,
    AutoVideoProcessor,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.auto_factory import _BaseAutoModelClass
from transformers.pipelines import PIPELINE_REGISTRY, Pipeline

from backends.errors import OutOfMemory, Unsupported
from backends.inprocess.batch import out_of_memory
from backends.inprocess.checkpoints import reading
from backends.inprocess.placement import choose_device, choose_dtype
from backends.pipelines import own

# One of transformers' AutoModelFor... classes, which make a network of a config.
Maker: TypeAlias = type[_BaseAutoModelClass]

_PARTS = {
    "tokenizer": AutoTokenizer,
    "image_processor": AutoImageProcessor,
    "video_processor": AutoVideoProcessor,
    "feature_extractor": AutoFeatureExtractor,
    "processor": AutoProcessor,
}
_VOCABULARIES = ("tokenizer.json", "vocab*", "*.model", "*.spm", "tekken.json")
# Parts of a network that its base class has, that few checkpoints bring, and that no answer of a task depends on.
_SPARE = ("pooler.", "masked_spec_embed", "position_ids")


def load(task: str, directory: Path, *, label: str, device: str, compute_type: str) -> Pipeline:
    """The pipeline of a task for the model in directory; no code of the model's own is run.

    label: what to call the model. Raises Unsupported for a model that cannot do the task, OutOfMemory, NoDevice.
    """
    place = choose_device(device)
    try:
        with reading():
            return _assembled(task, directory, label, place, compute_type)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ImportError,
        RuntimeError,
        SafetensorError,
    ) as error:
        if out_of_memory(error):
            raise OutOfMemory(
                f"{label} does not fit into the memory of {place}; unload other models, or use a smaller one."
            ) from error
        raise Unsupported(
            f"{label} does not load for `{task}`: its files are incomplete, damaged, or of another kind of model"
            f"{_packages(error)}. The server's log has the cause.",
            param="model",
        ) from error


def _assembled(task: str, directory: Path, label: str, device: str, compute_type: str) -> Pipeline:
    config = _config(directory, label)
    kind, classes = _kind(task)
    if task == "text-to-audio" and type(config) in AutoModelForTextToSpectrogram._model_mapping:
        raise Unsupported(
            f"{label} makes spectrograms, and what makes sound of them is another model; use one that makes sound itself, such as "
            "a VITS, Bark or MusicGen.",
            param="model",
        )
    network = _network(task, directory, config, classes, label, choose_dtype(compute_type, config, device))
    parts = {name: part for name in _PARTS if (part := _part(kind, name, directory, label, task)) is not None}
    return kind(model=network, task=task, device=torch.device(device), **parts)


def _config(directory: Path, label: str) -> PretrainedConfig:
    if not (directory / "config.json").is_file() or (directory / "model.bin").is_file():
        raise Unsupported(
            f"{label} is no model of transformers: pipelines need its config.json and safetensors.", param="model"
        )
    try:
        return AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError) as error:
        raise Unsupported(
            f"{label} is of an architecture that transformers {transformers.__version__} does not know.", param="model"
        ) from error


def _kind(task: str) -> tuple[type[Pipeline], tuple[Maker, ...]]:
    """The pipeline's class, and the classes of networks that it takes, likeliest first."""
    if task in own.PIPELINES:
        return own.PIPELINES[task]
    _, known, _ = PIPELINE_REGISTRY.check_task(task)
    kind = known["impl"]
    if isinstance(kind, str):
        module, _, name = kind.rpartition(".")
        kind = getattr(importlib.import_module(module), name)
    return own.IN_PLACE_OF.get(task, kind), known["pt"]


def _network(
    task: str, directory: Path, config: PretrainedConfig, classes: Iterable[Maker], label: str, dtype: torch.dtype
) -> PreTrainedModel:
    """The network with the head that the task needs. Raises Unsupported where the checkpoint has no such head."""
    fitting = [each for each in classes if type(config) in each._model_mapping]
    declared = config.architectures or []
    # Of several, the one that the checkpoint was saved as: a Whisper is no CTC model.
    fitting.sort(key=lambda each: not _makes(each, config) & set(declared))
    if not fitting:
        raise _mismatch(task, label, config)
    network, told = fitting[0].from_pretrained(
        directory,
        config=config,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    absent = [name for name in told["missing_keys"] if not any(spare in name for spare in _SPARE)]
    if absent and type(network).__name__ not in declared:
        raise _mismatch(task, label, config)
    return network.eval()


def _makes(maker: Maker, config: PretrainedConfig) -> set[str]:
    """The names of the networks that a class of transformers' makes of a config."""
    made = maker._model_mapping[type(config)]
    return {each.__name__ for each in (made if isinstance(made, tuple) else (made,))}


def _mismatch(task: str, label: str, config: PretrainedConfig) -> Unsupported:
    """The error for a model of another kind, with the tasks that it was made for."""
    declared = set(config.architectures or [])
    fits = [
        name
        for name in sorted({*PIPELINE_REGISTRY.supported_tasks, *own.PIPELINES})
        for each in _kind(name)[1]
        if type(config) in each._model_mapping and _makes(each, config) & declared
    ]
    kind = " or ".join(sorted(declared)) or config.model_type
    offer = f" It does: {', '.join(dict.fromkeys(fits))}." if fits else ""
    return Unsupported(f"{label} ({kind}) cannot do `{task}`: it was not trained for it.{offer}", param="model")


def _part(kind: type[Pipeline], name: str, directory: Path, label: str, task: str) -> object | None:
    """A tokenizer, or what reads sound or images; None where the pipeline does without."""
    wanted = getattr(kind, f"_load_{name}", False)
    if wanted is False:
        return None
    try:
        if name == "tokenizer" and not any(any(directory.glob(pattern)) for pattern in _VOCABULARIES):
            raise OSError("no vocabulary")  # of which transformers would make a tokenizer that knows no words
        return cast("object", _PARTS[name].from_pretrained(directory, local_files_only=True, trust_remote_code=False))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        if wanted is None:
            return None
        raise Unsupported(
            f"{label} has no {name.replace('_', ' ')} that loads here, and `{task}` needs one{_packages(error)}.",
            param="model",
        ) from error


def _packages(error: Exception) -> str:
    """What to install, when that is the matter."""
    known = (
        "torchvision",
        "pandas",
        "pytesseract",
        "timm",
        "sentencepiece",
        "protobuf",
        "torchaudio",
        "librosa",
        "scipy",
    )
    lacking = [name for name in known if isinstance(error, ImportError) and name in str(error).lower()]
    return f"; this server lacks {' and '.join(lacking)}" if lacking else ""
