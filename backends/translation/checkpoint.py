"""What a translation model's files say about it, read once when it is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from backends.errors import Unavailable
from backends.types import Json, JsonObject

_POSITIONS = 512
_OWN_TOKENS = 2  # a language code, and a start or end of sequence


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The settings of a checkpoint. vocabulary: every token its engine knows, the target's included."""

    name: str
    config: Mapping[str, Json]
    tokenizer: Mapping[str, Json]
    generation: Mapping[str, Json]
    vocabulary: frozenset[str]

    @property
    def model_type(self) -> str | None:
        """transformers' name of the architecture; None for a model that came in CTranslate2's format."""
        kind = self.config.get("model_type")
        return kind if isinstance(kind, str) else None

    @property
    def room(self) -> int:
        """Tokens of text that encoder and decoder can each hold, beside the model's own."""
        positions = self.config.get("max_position_embeddings")
        return (positions if isinstance(positions, int) else _POSITIONS) - _OWN_TOKENS


def read_checkpoint(name: str, directory: Path, vocabulary: frozenset[str]) -> Checkpoint:
    """Read the settings in directory; name: what the model is called. Raises Unavailable for files that are not JSON."""
    config = _read(directory / "config.json")
    generation = _read(directory / "generation_config.json") or config
    return Checkpoint(name, config, _read(directory / "tokenizer_config.json"), generation, vocabulary)


def _read(path: Path) -> JsonObject:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise Unavailable(f"{path} is not JSON; fetch the model's files again.") from error
    return cast("JsonObject", value) if isinstance(value, dict) else {}
