"""Tiny models of random weights, saved as whisperX and pyannote load them; and nothing that leaves the machine."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)

import backends
from backends.base import EngineSpec, ModelSpec
from backends.inprocess.audio import SAMPLE_RATE, Samples

if TYPE_CHECKING:
    from pyannote.audio import Model

VOCABULARY = ["<pad>", "<s>", "</s>", "<unk>", "|", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
VOICE_SIZE, PLDA_SIZE = 16, 8
# Segmentation's classes: nobody, each of three speakers, each pair of them.
NOBODY, ONE = 0, 1


@pytest.fixture(autouse=True)
def nothing_leaves_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def checked(self: socket.socket, address: tuple[str, int]) -> None:
        assert address[0] == "127.0.0.1", "something tried to reach the network"
        connect(self, address)

    def refuse(*_: object) -> None:
        raise AssertionError("something asked for an address on the network")

    monkeypatch.setattr(socket.socket, "connect", checked)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def cached(directory: Path, cache: Path, name: str) -> None:
    """Put the files of a directory into the hub's cache, as the repository `name`."""
    commit = "0" * 40
    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(directory, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)


@pytest.fixture(scope="session")
def english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec2 model that knows the letters of English and has learnt nothing."""
    directory = tmp_path_factory.mktemp("english")
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(VOCABULARY),
        pad_token_id=0,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2ForCTC(config).save_pretrained(directory)
    (directory / "vocab.json").write_text(json.dumps({char: code for code, char in enumerate(VOCABULARY)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(directory / "vocab.json"))
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def speakers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of pyannote's own making, as its hub repositories are laid out, that hears one voice all the time."""
    return make_pipeline(tmp_path_factory.mktemp("speakers"), hears=ONE)


@pytest.fixture(scope="session")
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that never hears anybody."""
    return make_pipeline(tmp_path_factory.mktemp("nobody"), hears=NOBODY)


def make_pipeline(directory: Path, *, hears: int) -> Path:
    """Segmentation that finds class `hears` in every frame; prints by a random network; clustering as in community-1."""
    from pyannote.audio.core.task import Problem, Resolution, Specifications  # noqa: PLC0415 - needs the cuda set
    from pyannote.audio.models.embedding import XVectorMFCC  # noqa: PLC0415
    from pyannote.audio.models.segmentation import PyanNet  # noqa: PLC0415

    torch.manual_seed(0)
    small = {"hidden_size": 8, "num_layers": 1}
    segmentation = PyanNet(lstm=small, linear=small)
    segmentation.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=2.0,
        classes=["1", "2", "3"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    segmentation.build()
    with torch.no_grad():
        segmentation.classifier.weight.zero_()
        segmentation.classifier.bias.zero_()
        segmentation.classifier.bias[hears] = 5.0
    embedding = XVectorMFCC(
        mfcc={"n_mfcc": 20, "dct_type": 2, "norm": "ortho", "log_mels": True, "melkwargs": {"n_mels": 40}},
        dimension=VOICE_SIZE,
    )
    embedding.specifications = Specifications(
        problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=2.0, classes=["1", "2"]
    )
    embedding.build()
    _save(segmentation, directory / "segmentation")
    _save(embedding, directory / "embedding")
    _save_plda(directory / "plda")
    parts = {part: f"$model/{part}" for part in ("segmentation", "embedding", "plda")}
    (directory / "config.yaml").write_text(
        json.dumps(  # which is YAML
            {
                "dependencies": {"pyannote.audio": "4.0.0"},
                "pipeline": {
                    "name": "pyannote.audio.pipelines.SpeakerDiarization",
                    "params": {
                        **parts,
                        "clustering": "VBxClustering",
                        "segmentation_batch_size": 8,
                        "embedding_batch_size": 8,
                    },
                },
                "params": {
                    "segmentation": {"min_duration_off": 0.0},
                    "clustering": {"threshold": 0.6, "Fa": 0.07, "Fb": 0.8},
                },
            }
        )
    )
    return directory


def _save(model: Model, directory: Path) -> None:
    checkpoint = {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": "2.6.0",
    }
    model.on_save_checkpoint(checkpoint)
    directory.mkdir()
    torch.save(checkpoint, directory / "pytorch_model.bin")


def _save_plda(directory: Path) -> None:
    """A PLDA that takes the first directions as they are."""
    directory.mkdir()
    np.savez(
        directory / "xvec_transform.npz",
        mean1=np.zeros(VOICE_SIZE),
        mean2=np.zeros(PLDA_SIZE),
        lda=np.eye(VOICE_SIZE, PLDA_SIZE),
    )
    np.savez(directory / "plda.npz", mu=np.zeros(PLDA_SIZE), tr=np.eye(PLDA_SIZE), psi=np.linspace(8.0, 1.0, PLDA_SIZE))


@pytest.fixture
def spec(tmp_path: Path) -> EngineSpec:
    return EngineSpec(name="speech", kind="whisper", data=tmp_path, device="cpu", compute_type="float32")


@pytest.fixture(scope="session")
def nano() -> ModelSpec:
    return ModelSpec(source=str(Path(backends.__file__).parent / "nano" / "whisper"))


@pytest.fixture(scope="session")
def buzz() -> Callable[[float], Samples]:
    """Seconds -> a voice, deep and buzzing."""
    return lambda seconds: _sound(seconds, buzzing=True)


@pytest.fixture(scope="session")
def hiss() -> Callable[[float], Samples]:
    """Seconds -> another voice, all breath."""
    return lambda seconds: _sound(seconds, buzzing=False)


def _sound(seconds: float, *, buzzing: bool) -> Samples:
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(len(times)).normal(size=len(times))
    wave = 0.15 * np.sign(np.sin(2 * np.pi * 110 * times)) + 0.01 * noise if buzzing else 0.2 * noise
    return wave.astype(np.float32)
