"""Where a model's files are: a local directory as it is, or a snapshot of the Hugging Face hub, cached or downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import tqdm

from backends.base import ModelSpec, Progress, Report
from backends.errors import Licensed, NotCached, NotFound, Unavailable, Unsupported
from backends.inprocess.ids import is_directory, is_model_id
from backends.types import JsonObject

CONFIGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")

# Data formats only. model.bin is CTranslate2's own format; every other *.bin is a pickle, which runs code when read.
WEIGHTS = ("model.safetensors", "model-*.safetensors", "model.bin")
WANTED = ("*.json", "*.txt", "*.jinja", "*.model", "*.spm", *WEIGHTS)
NESTED = "*/*"


def has_weights(directory: Path) -> bool:
    """Whether directory holds a whole set of weights: CTranslate2's model.bin, or safetensors with every shard."""
    if (directory / "model.bin").is_file() or (directory / "model.safetensors").is_file():
        return True
    shards = read_config(directory / "model.safetensors.index.json").get("weight_map")
    return isinstance(shards, dict) and all((directory / str(shard)).is_file() for shard in shards.values())


def read_config(file: Path) -> JsonObject:
    """The JSON object in file; empty where there is no such file. Raises Unavailable for anything else."""
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_bytes())
    except ValueError as error:
        raise Unavailable(f"The model's {file.name} is damaged: it is no JSON.") from error
    if not isinstance(config, dict):
        raise Unavailable(f"The model's {file.name} is damaged: it holds no JSON object.")
    return config


@dataclass(frozen=True, slots=True)
class Hub:
    """The Hugging Face hub and its cache; None = as the hub's own environment says (HF_HOME, HF_ENDPOINT, HF_TOKEN).

    allow_auto_map: take models whose config names code of their own; the code itself is never run.
    """

    cache: Path | None = None
    endpoint: str | None = None
    allow_auto_map: bool = False

    def locate(self, model: ModelSpec, report: Report) -> Path:
        """The directory with the model's files, downloaded if it must be. Blocks; report is called from this thread.

        Raises NotFound, NotCached or Licensed for files that cannot be had; Unavailable for a source that is no directory
        and no id, weights in no safe format, and configs that want code of their own.
        """
        if is_directory(model.source):
            directory = Path(model.source).expanduser()
            if not directory.is_dir():
                raise Unavailable(f"There is no directory {directory}; correct the model's source.")
        elif is_model_id(model.source):
            directory = self._cached(model) or self._fetched(model, report)
        else:
            raise Unavailable(
                f"{model.source!r} is neither a Hugging Face id (owner/name) nor a directory (/path or ./path)."
            )
        self._refuse_code(model.label, directory)
        if not has_weights(directory):
            raise _no_weights(model)
        return directory

    def weights(self, model: ModelSpec) -> int | None:
        """Bytes of the model's weights, None where they are not on this machine yet. Blocks.

        Raises NotCached when nothing of it is and the hub is not to be asked (HF_HUB_OFFLINE).
        """
        if is_directory(model.source):
            directory: Path | None = Path(model.source).expanduser()
        else:
            directory = self._cached(model) if is_model_id(model.source) else None
            offline = constants.HF_HUB_OFFLINE and is_model_id(model.source)
            if directory is None and offline and not self._pickled(model):
                raise _not_cached(model)
        if directory is None or not directory.is_dir():
            return None
        files = [file for pattern in WEIGHTS for file in directory.glob(pattern)]
        return sum(file.stat().st_size for file in files) or None

    def _cached(self, model: ModelSpec) -> Path | None:
        try:
            found = Path(self._snapshot(model, WANTED, local_files_only=True))
        except LocalEntryNotFoundError:
            return None
        return found if has_weights(found) else None

    def _fetched(self, model: ModelSpec, report: Report) -> Path:
        try:
            return self._download(model, report)
        except NotCached as error:
            if self._pickled(model):
                raise _no_weights(model) from error
            raise

    def _pickled(self, model: ModelSpec) -> bool:
        """Whether weights that are not read are all that the cache has of the model."""
        try:
            found = Path(self._snapshot(model, WANTED, local_files_only=True))
        except LocalEntryNotFoundError:
            return False
        return any(found.glob("pytorch_model*.bin"))

    def _download(self, model: ModelSpec, report: Report) -> Path:
        try:
            self._refuse_code(model.label, Path(self._snapshot(model, CONFIGS)))
            plan = snapshot_download(
                model.source,
                revision=model.revision,
                cache_dir=self.cache,
                endpoint=self.endpoint,
                allow_patterns=list(WANTED),
                ignore_patterns=NESTED,
                dry_run=True,
                tqdm_class=_meter(lambda _: None),
            )
            total = sum(file.file_size for file in plan if file.will_download)
            report(Progress("download", 0, total))
            return Path(
                self._snapshot(model, WANTED, lambda done: report(Progress("download", min(done, total), total)))
            )
        except RevisionNotFoundError as error:
            raise NotFound(f"{model.source} has no revision {model.revision} on the hub.") from error
        except GatedRepoError as error:
            raise Licensed(
                f"{model.source} is behind a licence: accept it on the model's page, and set HF_TOKEN to a key of the "
                "account that did."
            ) from error
        except RepositoryNotFoundError as error:
            raise NotFound(
                f"The hub has no {model.source}, or hides it: check the name, or set HF_TOKEN to a key that may read it."
            ) from error
        except (OSError, HTTPError) as error:
            raise _not_cached(model) from error

    def _snapshot(
        self,
        model: ModelSpec,
        patterns: tuple[str, ...],
        advance: Callable[[int], None] = lambda _: None,
        *,
        local_files_only: bool = False,
    ) -> str:
        folder = snapshot_download(
            model.source,
            revision=model.revision,
            cache_dir=self.cache,
            endpoint=self.endpoint,
            allow_patterns=list(patterns),
            ignore_patterns=NESTED,
            local_files_only=local_files_only,
            tqdm_class=_meter(advance),
        )
        return cast("str", folder)

    def _refuse_code(self, source: str, directory: Path) -> None:
        if self.allow_auto_map:
            return
        for name in CONFIGS:
            if "auto_map" in read_config(directory / name):
                raise Unavailable(
                    f"{source} wants code of its own to be run ({name} has auto_map), which is not allowed here; "
                    "use a model whose architecture transformers knows."
                )


@contextmanager
def chosen(model: ModelSpec) -> Iterator[None]:
    """What is wrong with files that the hub has is wrong with whoever chose them: Unavailable becomes Unsupported.

    Of a directory, and where waiting helps, it stays what it is.
    """
    try:
        yield
    except Unavailable as error:
        if type(error) is Unavailable and error.retry_after is None and is_model_id(model.source):
            raise Unsupported(error.message, param="model") from error
        raise


def _no_weights(model: ModelSpec) -> Unavailable:
    return Unavailable(
        f"{model.label} has no weights as safetensors (or in CTranslate2's format), and pickled ones are not read; name a "
        "revision that has them (the hub's converter offers one as refs/pr/N) or convert them."
    )


def _not_cached(model: ModelSpec) -> NotCached:
    return NotCached(
        f"{model.source} is neither in the hub's cache nor could it be downloaded: set HF_HOME to a cache that "
        f"has it, name a local directory as the model's source, or run `hf download {model.source}` where the "
        "hub can be reached (and HF_HUB_OFFLINE is not set)."
    )


def _meter(advance: Callable[[int], None]) -> type[object]:
    """A progress bar that shows nothing and tells advance the bytes so far."""

    class Meter(tqdm):  # type: ignore[misc]  # the library asks for a subclass and has no types
        def __init__(self, *args: object, **kwargs: object) -> None:
            self._counts_bytes = kwargs.get("unit") == "B"
            self._done = 0
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            self._done += int(n or 0)
            if self._counts_bytes:
                advance(self._done)
            return None

    return Meter
