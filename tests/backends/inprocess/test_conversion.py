import os
import threading
from pathlib import Path
from shutil import copytree

import ctranslate2
import pytest
from ctranslate2.converters import TransformersConverter

import backends
from backends.base import Progress
from backends.errors import Unavailable
from backends.inprocess.conversion import converted

COPY = ("tokenizer.json", "preprocessor_config.json", "not_there.json")


def ignored(_: Progress) -> None:
    pass


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return copytree(Path(backends.__file__).parent / "nano" / "whisper", tmp_path / "source")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "conversions"


def convert(source: Path, store: Path, quantization: str | None = None) -> tuple[Path, list[Progress]]:
    reports: list[Progress] = []
    return converted(source, store=store, quantization=quantization, copy=COPY, report=reports.append), reports


def test_a_checkpoint_is_converted_once_with_the_files_it_needs(source: Path, store: Path) -> None:
    directory, reports = convert(source, store)
    assert reports == [Progress("convert", 0, 1), Progress("convert", 1, 1)]
    assert ctranslate2.contains_model(str(directory))
    assert (directory / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert convert(source, store) == (directory, [])


def test_a_converted_model_is_used_as_it_is(source: Path, store: Path) -> None:
    directory, _ = convert(source, store)
    assert convert(directory, store / "other") == (directory, [])
    assert not (store / "other").exists()


def test_another_quantization_and_changed_weights_are_other_conversions(source: Path, store: Path) -> None:
    plain, _ = convert(source, store)
    small, _ = convert(source, store, "int8")
    assert (small / "model.bin").stat().st_size < (plain / "model.bin").stat().st_size

    weights = source / "model.safetensors"
    data, times = bytearray(weights.read_bytes()), weights.stat()
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert convert(source, store)[0] not in {plain, small}


def test_a_conversion_broken_off_half_way_is_never_used(
    source: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: object, output_dir: str, **options: object) -> None:
        Path(output_dir).mkdir()
        (Path(output_dir) / "model.bin").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(TransformersConverter, "convert", killed)
        with pytest.raises(KeyboardInterrupt):
            convert(source, store)
    directory, reports = convert(source, store)
    assert reports
    assert ctranslate2.models.Whisper(str(directory), compute_type="float32").n_mels == 80


def test_two_who_want_the_same_conversion_share_one(source: Path, store: Path) -> None:
    results: list[tuple[Path, list[Progress]]] = []
    threads = [threading.Thread(target=lambda: results.append(convert(source, store))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0][0] == results[1][0]
    assert sorted(len(reports) for _, reports in results) == [0, 2]


def test_an_architecture_that_cannot_be_converted_is_refused(source: Path, store: Path) -> None:
    (source / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(Unavailable, match="cannot be converted"):
        convert(source, store)
