"""The quick tokenizers cut text exactly as the checkpoint's own class does."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, ByT5Tokenizer

from backends.translation.tokenizer import (
    JsonTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    TransformersTokenizer,
    open_tokenizer,
)
from tests.backends.translation.conftest import Make
from tests.backends.translation.tiny_models import CORPUS, SENTENCES

TEXTS = (
    *CORPUS,
    *SENTENCES,
    "Hello,  world!",
    "¿Compra el niño la bolsa?",
    "l'eau",
    "Käse & Brot: 12,50 €",
    "你好",
    "a",
)


def _same_as_checkpoint(directory: Path, quick: Tokenizer) -> None:
    own = AutoTokenizer.from_pretrained(directory)
    unknown = own.unk_token_id
    for text in TEXTS:
        ids = own(text, add_special_tokens=False)["input_ids"]
        pieces = quick.pieces(text)
        assert own.convert_tokens_to_ids(pieces) == ids, text
        if unknown not in ids:
            assert quick.text(pieces) == own.decode(ids, skip_special_tokens=True).strip()


def test_nano(nano: Path) -> None:
    quick = open_tokenizer(nano)
    assert isinstance(quick, SentencePieceTokenizer)
    _same_as_checkpoint(nano, quick)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("marian", SentencePieceTokenizer),
        ("nllb", JsonTokenizer),
        ("mbart", JsonTokenizer),
        ("mbart50", JsonTokenizer),
        ("t5", JsonTokenizer),
    ],
)
def test_families(family: str, kind: type[Tokenizer], tiny: Make) -> None:
    directory = tiny(family).directory
    quick = open_tokenizer(directory)
    assert isinstance(quick, kind)
    _same_as_checkpoint(directory, quick)


def test_without_either_file_the_checkpoint_decides(tmp_path: Path) -> None:
    ByT5Tokenizer().save_pretrained(tmp_path)
    slow = open_tokenizer(tmp_path)
    assert isinstance(slow, TransformersTokenizer)
    _same_as_checkpoint(tmp_path, slow)


def test_tokens_with_a_meaning_are_plain_text_in_a_text(nano: Path, tiny: Make) -> None:
    assert "</s>" not in open_tokenizer(nano).pieces("one </s> two __de__")
    assert "</s>" not in open_tokenizer(tiny("nllb").directory).pieces("one </s> two fra_Latn")
