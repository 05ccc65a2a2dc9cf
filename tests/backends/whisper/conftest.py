import csv
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from faster_whisper import WhisperModel

import backends
from backends.base import EngineSpec, ModelSpec, Progress
from backends.inprocess.hub import Hub
from backends.whisper.backend import WhisperBackend
from backends.whisper.model import load

SPEECH = Path(__file__).parents[2] / "data" / "speech"


@dataclass(frozen=True)
class Clip:
    """A spoken sentence that no nano model was trained on."""

    audio: bytes
    text: str


def ignored(_: Progress) -> None:
    pass


@pytest.fixture(scope="session")
def nano() -> ModelSpec:
    return ModelSpec(source=str(Path(backends.__file__).parent / "nano" / "whisper"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whisper")


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    with (SPEECH / "manifest.tsv").open(encoding="utf-8", newline="") as manifest:
        lines = csv.DictReader(manifest, delimiter="\t")
        return [Clip((SPEECH / line["file"]).read_bytes(), line["text"]) for line in lines]


@pytest.fixture
def spec(data: Path) -> EngineSpec:
    return EngineSpec(name="speech", kind="whisper", data=data, device="cpu", compute_type="float32")


@pytest.fixture
async def backend(spec: EngineSpec, nano: ModelSpec) -> AsyncIterator[WhisperBackend]:
    backend = WhisperBackend(spec)
    await backend.load(nano, ignored)
    yield backend
    await backend.close()


@pytest.fixture
def reference(spec: EngineSpec, nano: ModelSpec) -> WhisperModel:
    """faster-whisper itself, with the same model."""
    load(nano, spec, Hub(), ignored)
    (directory,) = (path for path in (spec.data / "conversions").iterdir() if path.is_dir())
    return WhisperModel(str(directory), device="cpu", compute_type="float32", local_files_only=True)
