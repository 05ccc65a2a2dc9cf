import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import ctranslate2
import pytest
from faster_whisper import WhisperModel

from backends.base import EngineSpec, ModelSpec, Progress, placed
from backends.errors import Unavailable
from backends.inprocess.hub import Hub
from backends.whisper.model import device_for, load

without_cuda = pytest.mark.skipif(ctranslate2.get_cuda_device_count() > 0, reason="a CUDA device is there")


def ignored(_: Progress) -> None:
    pass


def test_a_checkpoint_of_transformers_loads_and_the_second_time_without_converting(
    spec: EngineSpec, nano: ModelSpec, tmp_path: Path
) -> None:
    fresh = replace(spec, data=tmp_path)
    reports: list[Progress] = []
    whisper = load(nano, fresh, Hub(), reports.append)
    assert not whisper.multilingual
    assert whisper.languages == {"en"}
    assert [report.stage for report in reports] == ["convert", "convert", "load", "load"]
    reports.clear()
    load(nano, fresh, Hub(), reports.append)
    assert [report.stage for report in reports] == ["load", "load"]


def test_a_converted_model_loads_as_it_is(spec: EngineSpec, nano: ModelSpec, tmp_path: Path) -> None:
    load(nano, replace(spec, data=tmp_path), Hub(), ignored)
    (directory,) = (path for path in (tmp_path / "conversions").iterdir() if path.is_dir())
    (directory / "preprocessor_config.json").unlink()
    whisper = load(ModelSpec(source=str(directory)), replace(spec, data=tmp_path / "unused"), Hub(), ignored)
    assert whisper.log_mel.mel_filters.shape[0] == whisper.model.n_mels == 80
    assert not (tmp_path / "unused").exists()


def test_the_mel_bands_are_the_models_own(spec: EngineSpec, nano: ModelSpec, tmp_path: Path) -> None:
    load(nano, replace(spec, data=tmp_path), Hub(), ignored)
    (directory,) = (path for path in (tmp_path / "conversions").iterdir() if path.is_dir())
    (directory / "preprocessor_config.json").write_text(json.dumps({"feature_size": 128}))
    whisper = load(ModelSpec(source=str(directory)), spec, Hub(), ignored)
    assert whisper.log_mel.mel_filters.shape[0] == 80


@pytest.mark.parametrize(
    ("said", "longest", "frames"),
    [
        ({}, 3000, [3000, 3000, 3000, 3000]),
        ({"shortest_chunk_length": 5}, 3000, [500, 500, 1000, 3000]),
        ({"shortest_chunk_length": 5, "longest_chunk_length": 10}, 1000, [500, 500, 1000, 1000]),
        ({"longest_chunk_length": 10}, 1000, [3000, 3000, 3000, 3000]),
        ({"shortest_chunk_length": "5", "longest_chunk_length": 100}, 3000, [3000, 3000, 3000, 3000]),
    ],
)
def test_windows_have_30_seconds_unless_the_model_was_trained_on_shorter_ones(
    said: dict[str, object], longest: int, frames: list[int], spec: EngineSpec, nano: ModelSpec, tmp_path: Path
) -> None:
    load(nano, replace(spec, data=tmp_path), Hub(), ignored)
    (directory,) = (path for path in (tmp_path / "conversions").iterdir() if path.is_dir())
    (directory / "preprocessor_config.json").write_text(json.dumps(said))
    whisper = load(ModelSpec(source=str(directory)), spec, Hub(), ignored)
    assert whisper.longest == longest
    assert [whisper.frames(min(content, longest)) for content in (1, 450, 451, 3000)] == frames


def test_other_kinds_of_models_are_refused_by_name(spec: EngineSpec, nano: ModelSpec) -> None:
    translator = str(Path(nano.source).parent / "translate")
    with pytest.raises(Unavailable, match="m2m_100"):
        load(ModelSpec(source=translator), spec, Hub(), ignored)


def test_a_damaged_model_is_refused(spec: EngineSpec, nano: ModelSpec, tmp_path: Path) -> None:
    directory = copytree(nano.source, tmp_path / "model", ignore=lambda *_: {"model.safetensors"})
    (directory / "model.bin").write_bytes(b"damaged")
    with pytest.raises(Unavailable, match="damaged"):
        load(ModelSpec(source=str(directory)), spec, Hub(), ignored)


def test_a_model_without_its_tokenizer_is_refused_and_none_is_fetched(
    spec: EngineSpec, nano: ModelSpec, tmp_path: Path
) -> None:
    load(nano, replace(spec, data=tmp_path), Hub(), ignored)
    (directory,) = (path for path in (tmp_path / "conversions").iterdir() if path.is_dir())
    (directory / "tokenizer.json").unlink()
    with pytest.raises(Unavailable, match=r"tokenizer\.json"):
        load(ModelSpec(source=str(directory)), spec, Hub(), ignored)


def test_as_many_threads_as_are_said(spec: EngineSpec, nano: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    def spy(*args: object, cpu_threads: int, **options: object) -> WhisperModel:
        opened.append(cpu_threads)
        return WhisperModel(*args, cpu_threads=cpu_threads, **options)

    monkeypatch.setattr("backends.whisper.model.WhisperModel", spy)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for threads in (None, 2):
        load(nano, placed(spec, replace(nano, cpu_threads=threads)), Hub(), ignored)
    assert opened == [0, 2]


@without_cuda
def test_cuda_without_cuda_is_refused_and_auto_is_the_cpu(spec: EngineSpec) -> None:
    with pytest.raises(Unavailable, match="no CUDA device"):
        device_for(replace(spec, device="cuda"))
    assert device_for(replace(spec, device="auto")) == "cpu"


def test_unknown_devices_and_compute_types_are_refused_by_name(spec: EngineSpec) -> None:
    with pytest.raises(Unavailable, match="tpu"):
        device_for(replace(spec, device="tpu"))
    with pytest.raises(Unavailable, match="int3"):
        device_for(replace(spec, compute_type="int3"))
