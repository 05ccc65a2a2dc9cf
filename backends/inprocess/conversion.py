"""Checkpoints of transformers turned into CTranslate2's format on their first load, and kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ctranslate2
from ctranslate2.converters import TransformersConverter
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from backends.base import Progress, Report
from backends.errors import Unavailable
from backends.inprocess.checkpoints import reading

SAMPLE = 1 << 20


def converted(source: Path, *, store: Path, quantization: str | None, copy: Sequence[str], report: Report) -> Path:
    """The directory that holds source in CTranslate2's format: source itself if it does, else its kept conversion.

    store: where conversions are kept; quantization: CTranslate2's name for how weights are stored, None = as in the
    source; copy: files to take along, where the source has them. Blocks; another process converting the same source is
    waited for. Raises Unavailable for an architecture that CTranslate2 cannot convert.
    """
    if (source / "model.bin").is_file():
        return source
    target = store / _identity(source, quantization, copy)
    if target.is_dir():
        return target
    store.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_suffix(".lock")):
        if not target.is_dir():
            report(Progress("convert", 0, 1))
            partial = target.with_suffix(".partial")
            _convert(source, partial, quantization, [name for name in copy if (source / name).is_file()])
            _sync(partial)
            partial.replace(target)
            report(Progress("convert", 1, 1))
    return target


def _identity(source: Path, quantization: str | None, copy: Sequence[str]) -> str:
    """Names a conversion: what it is made from, how, and by which version.

    Weights run to gigabytes, so of each file only both ends are read, beside its size and time.
    """
    digest = hashlib.sha256(repr((ctranslate2.__version__, quantization, sorted(copy))).encode())
    for file in sorted(source.iterdir()):
        if not file.is_file():
            continue
        stat = file.stat()
        digest.update(repr((file.name, stat.st_size, stat.st_mtime_ns)).encode())
        with file.open("rb") as data:
            digest.update(data.read(SAMPLE))
            data.seek(max(0, stat.st_size - SAMPLE))
            digest.update(data.read(SAMPLE))
    return digest.hexdigest()[:32]


def _convert(source: Path, target: Path, quantization: str | None, copy: list[str]) -> None:
    converter = _Converter(str(source), copy_files=copy, low_cpu_mem_usage=True)
    try:
        converter.convert(str(target), quantization=quantization, force=True)
    except (ValueError, NotImplementedError, AttributeError, KeyError) as error:
        raise Unavailable("The model's architecture cannot be converted to CTranslate2's format.") from error


class _Converter(TransformersConverter):  # type: ignore[misc]  # the library has no types
    def load_model(self, model_class: type[PreTrainedModel], path: str, **options: object) -> PreTrainedModel:
        """The model, read while no other is."""
        with reading():
            return super().load_model(model_class, path, **options)

    def load_tokenizer(
        self, tokenizer_class: type[AutoTokenizer], path: str, **options: object
    ) -> PreTrainedTokenizerBase:
        """The tokenizer, with a beginning of sequence: CTranslate2 cannot run a model without, and mBART-50's may lack it."""
        tokenizer = super().load_tokenizer(tokenizer_class, path, **options)
        if tokenizer.bos_token is None:
            tokenizer.bos_token = tokenizer.cls_token
        return tokenizer


def _sync(directory: Path) -> None:
    """Have every byte on the disk before the name says that they are there."""
    for file in directory.iterdir():
        with file.open("rb") as data:
            os.fsync(data.fileno())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file at path against other processes and threads; it ends with its holder, however that ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
