"""What a model's own directory says of it, for models that the catalog does not know."""

from __future__ import annotations

import json
import math
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from backends.inprocess.cache import cached, hub_cache
from backends.inprocess.ids import is_directory

# A header of safetensors is some 100 kB; one that claims to be larger is no header.
MAX_HEADER = 64_000_000
MARK = re.compile("__[a-z]{2,3}__|[a-z]{3}_[A-Z][a-z]{3}|[a-z]{2}_[A-Z]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFacts:
    """Of a checkpoint on this machine. kind: `model_type` of its configuration; tokenizer: its tokenizer's class; codes: of
    languages that a translator's tokenizer writes, as it writes them; 0 and empty = its files do not say.
    """

    kind: str = ""
    tokenizer: str = ""
    parameters: int = 0
    checkpoint_mb: float = 0
    languages: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    pair: tuple[str, str] | None = None


def read_local(source: str, revision: str | None = None) -> LocalFacts:
    """The facts of a directory, or of what the hub's cache has of a model; nothing for what is neither, and for files that are
    not what they should be. Blocks.
    """
    directory = Path(source) if is_directory(source) else cached(source, revision, hub_cache(os.environ))
    if directory is None or not directory.is_dir():
        return LocalFacts()
    config = _json(directory / "config.json")
    generation = _json(directory / "generation_config.json")
    tokenizer = _json(directory / "tokenizer_config.json")
    weights = sorted(directory.glob("*.safetensors"))
    return LocalFacts(
        kind=_text(config, "model_type"),
        tokenizer=_text(tokenizer, "tokenizer_class"),
        parameters=sum(map(_parameters, weights)),
        checkpoint_mb=round(sum(file.stat().st_size for file in weights) / 1e6, 1),
        languages=_whisper_languages(generation),
        codes=_codes(tokenizer),
        pair=_pair(tokenizer),
    )


def _text(settings: dict[str, object], name: str) -> str:
    value = settings.get(name)
    return value if isinstance(value, str) else ""


def _json(file: Path) -> dict[str, object]:
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _parameters(file: Path) -> int:
    """How many numbers a safetensors file holds, by its header."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length)) if length <= MAX_HEADER else {}
        return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return 0


def _whisper_languages(generation: dict[str, object]) -> tuple[str, ...]:
    """The languages that a Whisper was trained to tell apart, as `<|de|>` in its generation settings."""
    tokens = generation.get("lang_to_id")
    if not isinstance(tokens, dict):
        return ("en",) if generation.get("is_multilingual") is False else ()
    return tuple(str(token).strip("<|>") for token in tokens)


def _codes(tokenizer: dict[str, object]) -> tuple[str, ...]:
    """The languages between which a model for many translates, as its tokenizer marks them: `__de__`, `deu_Latn` or `de_DE`."""
    tokens = tokenizer.get("additional_special_tokens")
    marks = [token for token in tokens if isinstance(token, str)] if isinstance(tokens, list) else []
    return tuple(token.strip("_") for token in marks if MARK.fullmatch(token))


def _pair(tokenizer: dict[str, object]) -> tuple[str, str] | None:
    """The one pair that a Marian model translates."""
    source, target = tokenizer.get("source_lang"), tokenizer.get("target_lang")
    return (source, target) if isinstance(source, str) and isinstance(target, str) and source and target else None
