"""What the kernel and the driver say of memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pynvml
import pytest

from proxy.lifecycle.disk import used_mb
from proxy.lifecycle.gpu import Gpu, read_gpu, read_other_gpus
from proxy.lifecycle.memory import Room, read_room

GB = 10**9


def write(directory: Path, **files: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return directory


def test_without_a_limit_the_machine_is_what_there_is(tmp_path: Path) -> None:
    room = read_room(tmp_path)
    assert room.total == pytest.approx(psutil.virtual_memory().total / 1e6)
    assert 0 < room.ours < room.used < room.total
    unlimited = write(tmp_path / "v2", memory__max="max\n", memory__current="5\n", memory__stat="inactive_file 1\n")
    assert read_room(unlimited).total == room.total


@pytest.mark.parametrize(
    ("folder", "limit", "used", "stat"),
    [
        ("", "memory__max", "memory__current", "anon 9\ninactive_file 100000000\n"),
        ("memory", "memory__limit_in_bytes", "memory__usage_in_bytes", "total_inactive_file 100000000\n"),
    ],
)
def test_a_containers_limit_counts_and_its_file_cache_does_not(
    tmp_path: Path, folder: str, limit: str, used: str, stat: str
) -> None:
    write(tmp_path / folder, memory__stat=stat, **{limit: f"{GB}\n", used: f"{GB // 2}\n"})
    room = read_room(tmp_path)
    assert (room.total, room.available, room.used) == (1000.0, 600.0, 400.0)


def test_a_damaged_account_is_no_limit(tmp_path: Path) -> None:
    write(tmp_path, memory__max="many", memory__current="x", memory__stat="")
    assert read_room(tmp_path).total == read_room(tmp_path / "nowhere").total


def test_a_gpu_is_where_models_on_cuda_live() -> None:
    room = Room(1000.0, 600.0, 50.0, Gpu(total=80.0, used=30.0))
    assert (room.available_on("cpu"), room.held_on("cpu")) == (600.0, 50.0)
    assert (room.available_on("cuda"), room.held_on("cuda")) == (50.0, 30.0)
    assert Room(1000.0, 600.0, 50.0).available_on("cuda") == 600.0
    beside = replace(room, more={"cuda:1": Gpu(total=40.0, used=10.0)})
    assert (beside.available_on("cuda:1"), beside.held_on("cuda:1")) == (30.0, 10.0)
    assert (beside.available_on("cuda"), beside.available_on("cuda:7")) == (50.0, 600.0)


@dataclass
class Driver:
    """NVML as far as it is asked."""

    monkeypatch: pytest.MonkeyPatch
    asked: list[object]

    def install(self) -> None:
        @dataclass
        class Figures:
            total: int = 80 * GB
            used: int = 20 * GB
            gpu: int = 40

        def by_index(number: int) -> object:
            self.asked.append(number)
            return number

        def by_uuid(name: str) -> object:
            self.asked.append(name)
            return name

        for name, does in (
            ("nvmlInit", lambda: None),
            ("nvmlShutdown", lambda: None),
            ("nvmlDeviceGetHandleByIndex", by_index),
            ("nvmlDeviceGetCount", lambda: 3),
            ("nvmlDeviceGetIndex", lambda handle: handle if isinstance(handle, int) else 1),
            ("nvmlDeviceGetHandleByUUID", by_uuid),
            ("nvmlDeviceGetMemoryInfo", lambda _: Figures()),
            ("nvmlDeviceGetUtilizationRates", lambda _: Figures()),
        ):
            self.monkeypatch.setattr(pynvml, name, does)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver(monkeypatch, [])
    driver.install()
    return driver


@pytest.mark.parametrize(
    ("visible", "asked"), [(None, [0]), ("2,0", [2]), ("GPU-1b2c", ["GPU-1b2c"]), ("MIG-9", ["MIG-9"])]
)
def test_the_gpu_is_the_first_that_this_process_may_use(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str | None, asked: list[object]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpu = read_gpu()
    assert gpu == Gpu(80_000.0, 20_000.0, 40.0)
    assert (gpu.free, driver.asked) == (60_000.0, asked)


@pytest.mark.parametrize(
    ("visible", "others"), [(None, "1 2"), ("2,0", "0 1"), ("GPU-1b2c", "0 2"), ("", "0 1 2"), ("-1", "0 1 2")]
)
def test_the_others_are_for_engines_beside_it(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str | None, others: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert read_other_gpus() == {f"cuda:{number}": Gpu(80_000.0, 20_000.0, 40.0) for number in others.split()}


@pytest.mark.parametrize("visible", ["", "-1"])
def test_a_gpu_that_may_not_be_used_is_none(driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert read_gpu() is None


def test_without_a_driver_there_is_no_gpu(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert read_gpu() is None
    assert read_other_gpus() == {}


def test_a_slice_of_a_gpu_does_not_tell_its_load(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_told(_: object) -> None:
        raise pynvml.NVMLError_NotSupported

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", not_told)
    assert read_gpu() == Gpu(80_000.0, 20_000.0, None)


def test_files_are_counted_once_however_many_names_they_have(tmp_path: Path) -> None:
    blobs = tmp_path / "models--a" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "x").write_bytes(bytes(4_000_000))
    (blobs / "y").hardlink_to(blobs / "x")
    (tmp_path / "link").symlink_to(blobs / "x")
    assert used_mb([tmp_path, blobs, tmp_path / "nowhere"]) == pytest.approx(4.0, abs=0.1)
