"""What a model's own directory says of it, for models that the catalog does not know."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

# A header of safetensors is some 100 kB; one that claims to be larger is no header.
MAX_HEADER = 64_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFacts:
    """Of a checkpoint on this machine. kind: `model_type` of its configuration; 0 and empty = its files do not say."""

    kind: str = ""
    parameters: int = 0
    checkpoint_mb: float = 0
    languages: tuple[str, ...] = ()
    pair: tuple[str, str] | None = None


def read_local(source: str) -> LocalFacts:
    """The facts of a directory; nothing for what is none, and for files that are not what they should be. Blocks."""
    directory = Path(source)
    if not directory.is_dir():
        return LocalFacts()
    config = _json(directory / "config.json")
    generation = _json(directory / "generation_config.json")
    tokenizer = _json(directory / "tokenizer_config.json")
    weights = sorted(directory.glob("*.safetensors"))
    return LocalFacts(
        kind=str(config.get("model_type", "")),
        parameters=sum(map(_parameters, weights)),
        checkpoint_mb=round(sum(file.stat().st_size for file in weights) / 1e6, 1),
        languages=_whisper_languages(generation),
        pair=_pair(tokenizer),
    )


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


def _pair(tokenizer: dict[str, object]) -> tuple[str, str] | None:
    """The one pair that a Marian model translates."""
    source, target = tokenizer.get("source_lang"), tokenizer.get("target_lang")
    return (source, target) if isinstance(source, str) and isinstance(target, str) and source and target else None
