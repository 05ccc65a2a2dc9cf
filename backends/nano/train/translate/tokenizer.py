"""The translation tokenizer: one SentencePiece BPE for the four languages, in M2M100's files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from random import Random
from string import ascii_letters

import sentencepiece
from transformers import M2M100Tokenizer
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

from backends.nano.train.common import SEED, write_json
from backends.nano.train.translate.sentences import sample

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
VOCABULARY = 2200


def sample_text(meanings: int) -> Iterator[str]:
    """Training sentences, four to a meaning."""
    r = Random(SEED)
    for _ in range(meanings):
        yield from sample(r, False)[1]


def train_tokenizer(out: Path, meanings: int = 40000, vocabulary: int = VOCABULARY) -> M2M100Tokenizer:
    """Write sentencepiece.bpe.model, vocab.json and tokenizer_config.json to `out`, and load them."""
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sample_text(meanings),
        model_writer=trained,
        vocab_size=vocabulary,
        model_type="bpe",
        character_coverage=1.0,
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        hard_vocab_limit=False,
        required_chars=ascii_letters,
        num_threads=1,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    vocab = {token: i for i, token in enumerate(SPECIAL)}
    for i in range(pieces.get_piece_size()):
        vocab.setdefault(pieces.id_to_piece(i), len(vocab))
    out.mkdir(parents=True, exist_ok=True)
    (out / "sentencepiece.bpe.model").write_bytes(trained.getvalue())
    write_json(out / "vocab.json", vocab)
    config = {
        # Listed, or the language codes are ordinary text to the tokenizer and unknown to CTranslate2's converter.
        "additional_special_tokens": [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]],
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "language_codes": "m2m100",
        "model_max_length": 256,
        "num_madeup_words": 8,
        "pad_token": "<pad>",
        "sep_token": "</s>",
        "src_lang": "en",
        "tgt_lang": "fr",
        "tokenizer_class": "M2M100Tokenizer",
        "unk_token": "<unk>",
    }
    write_json(out / "tokenizer_config.json", config)
    return M2M100Tokenizer.from_pretrained(out)
