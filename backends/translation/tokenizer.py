"""Text to the pieces a model reads and back, by the quickest tokenizer that its files allow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Protocol

import sentencepiece
import tokenizers
from transformers import AutoTokenizer

_SENTENCEPIECE = (("source.spm", "target.spm"), ("sentencepiece.bpe.model",) * 2, ("spiece.model",) * 2)


class Tokenizer(Protocol):
    """Splits without adding the model's own tokens around the text."""

    def pieces(self, text: str) -> list[str]:
        """The text's pieces, as the model's vocabulary spells them."""

    def text(self, pieces: Sequence[str]) -> str:
        """The text that pieces of the target language make."""


class SentencePieceTokenizer:
    """SentencePiece itself; pieces that the model does not know are left to its engine."""

    def __init__(self, source: Path, target: Path) -> None:
        self._source = sentencepiece.SentencePieceProcessor(model_file=str(source))
        self._target = (
            sentencepiece.SentencePieceProcessor(model_file=str(target)) if target != source else self._source
        )

    def pieces(self, text: str) -> list[str]:
        return list(self._source.encode(text, out_type=str))

    def text(self, pieces: Sequence[str]) -> str:
        return str(self._target.decode(list(pieces))).strip()


class JsonTokenizer:
    """A tokenizer.json; tokens with a meaning to the model that stand in the text are read as plain text."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True

    def pieces(self, text: str) -> list[str]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).tokens)

    def text(self, pieces: Sequence[str]) -> str:
        return str(self._tokenizer.decoder.decode(list(pieces))).strip()


class TransformersTokenizer:
    """Whatever tokenizer class the checkpoint names: slow, knows them all, and serves one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
        self._turn = Lock()

    def pieces(self, text: str) -> list[str]:
        with self._turn:
            return list(self._tokenizer.tokenize(text))

    def text(self, pieces: Sequence[str]) -> str:
        with self._turn:
            return str(self._tokenizer.convert_tokens_to_string(list(pieces))).strip()


def open_tokenizer(directory: Path) -> Tokenizer:
    """The quickest tokenizer for the checkpoint in directory. Raises OSError or ValueError when it has none."""
    for source, target in _SENTENCEPIECE:
        if (directory / source).is_file() and (directory / target).is_file():
            return SentencePieceTokenizer(directory / source, directory / target)
    if (directory / "tokenizer.json").is_file():
        return JsonTokenizer(directory / "tokenizer.json")
    return TransformersTokenizer(directory)
