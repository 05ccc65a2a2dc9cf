"""Tiny random models of every family, and what transformers makes of a text on them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import sentencepiece
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    NllbMoeConfig,
    NllbMoeForConditionalGeneration,
    NllbTokenizer,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

CORPUS = [
    "hello world, how are you today?",
    "the quick brown fox jumps over the lazy dog.",
    "bonjour le monde, comment allez-vous aujourd'hui ?",
    "le renard brun saute par-dessus le chien paresseux.",
    "guten Tag Welt, wie geht es dir?",
    "translate English to German: one two three four five six seven eight nine ten",
]
SENTENCES = ("hello world", "the lazy fox jumps over nine dogs", "un chien, deux renards")
LAYERS = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "init_std": 0.5,
}


@dataclass(frozen=True)
class Random:
    """A tiny model with random weights. source and target: codes it has; token: the target's token, if it has one."""

    directory: Path
    source: str
    target: str
    token: str | None = None
    text_prefix: str = ""


def marian(directory: Path) -> Random:
    return Random(_marian(directory, ()), "en", "fr")


def marian_to_many(directory: Path) -> Random:
    _marian(directory, (">>fra<<", ">>deu<<"))
    return Random(directory, "en", "deu", text_prefix=">>deu<<")


def nllb(directory: Path) -> Random:
    size = _nllb_tokenizer(directory)
    M2M100ForConditionalGeneration(M2M100Config(vocab_size=size, **LAYERS)).save_pretrained(directory)
    return Random(directory, "eng_Latn", "fra_Latn", "fra_Latn")


def nllb_moe(directory: Path) -> Random:
    """CTranslate2 has no mixture of experts."""
    size = _nllb_tokenizer(directory)
    sparse = {"num_experts": 2, "expert_capacity": 64, "encoder_sparse_step": 1, "decoder_sparse_step": 1}
    NllbMoeForConditionalGeneration(NllbMoeConfig(vocab_size=size, **LAYERS, **sparse)).save_pretrained(directory)
    return Random(directory, "eng_Latn", "fra_Latn", "fra_Latn")


def mbart50(directory: Path) -> Random:
    return Random(_mbart(directory, MBart50Tokenizer), "en_XX", "fr_XX", "fr_XX")


def mbart(directory: Path) -> Random:
    return Random(_mbart(directory, MBartTokenizer), "en_XX", "fr_XX", "fr_XX")


def t5(directory: Path) -> Random:
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *_unigrams()]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0)
    tokenizer.save_pretrained(directory)
    prompt = "translate English to German: "
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "initializer_factor": 8.0}
    tasks = {"translation_en_to_de": {"prefix": prompt}}
    config = T5Config(vocab_size=len(tokenizer), decoder_start_token_id=0, task_specific_params=tasks, **sizes)
    T5ForConditionalGeneration(config).save_pretrained(directory)
    return Random(directory, "en", "de", text_prefix=prompt)


def reference(model: Random, text: str, beams: int = 1, new_tokens: int = 12) -> str:
    """What transformers itself makes of text; new_tokens: without the target's code."""
    tokenizer = AutoTokenizer.from_pretrained(model.directory)
    network = AutoModelForSeq2SeqLM.from_pretrained(model.directory, dtype=torch.float32)
    tokenizer.src_lang = model.source
    start = {}
    if model.token is not None:
        code = tokenizer.convert_tokens_to_ids(model.token)
        start = {"decoder_start_token_id": code} if "mbart0" in model.directory.name else {"forced_bos_token_id": code}
    inputs = tokenizer(model.text_prefix + text, return_tensors="pt")
    extra = 1 if "forced_bos_token_id" in start else 0
    answer = network.generate(**inputs, num_beams=beams, do_sample=False, max_new_tokens=new_tokens + extra, **start)
    return str(tokenizer.decode(answer[0], skip_special_tokens=True)).strip()


def _spm(directory: Path) -> sentencepiece.SentencePieceProcessor:
    prefix = directory / "trained"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 20),
        model_prefix=str(prefix),
        vocab_size=140,
        model_type="bpe",
        bos_id=-1,
        eos_id=1,
        unk_id=0,
        character_coverage=1.0,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")


def _marian(directory: Path, targets: tuple[str, ...]) -> Path:
    spm = _spm(directory)
    pieces = [spm.id_to_piece(number) for number in range(spm.get_piece_size())]
    vocabulary = {
        piece: number for number, piece in enumerate(dict.fromkeys(["</s>", "<unk>", *targets, *pieces, "<pad>"]))
    }
    for side in ("source.spm", "target.spm"):
        (directory / side).write_bytes((directory / "trained.model").read_bytes())
    (directory / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = MarianTokenizer(
        *(str(directory / name) for name in ("source.spm", "target.spm", "vocab.json")),
        source_lang="en",
        target_lang="fr",
    )
    tokenizer.save_pretrained(directory)
    size, pad = len(vocabulary), vocabulary["<pad>"]
    config = MarianConfig(
        vocab_size=size, decoder_vocab_size=size, pad_token_id=pad, decoder_start_token_id=pad, eos_token_id=0,
        forced_eos_token_id=None, bos_token_id=None, scale_embedding=True, static_position_embeddings=True, **LAYERS,
    )  # fmt: skip
    model = MarianMTModel(config)
    model.generation_config.bad_words_ids = [[pad]]
    model.save_pretrained(directory)
    return directory


def _nllb_tokenizer(directory: Path) -> int:
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trained.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=160, special_tokens=special, show_progress=False)
    )
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = NllbTokenizer(vocab=model["vocab"], merges=merges, src_lang="eng_Latn", tgt_lang="fra_Latn")
    tokenizer.save_pretrained(directory)
    return len(tokenizer)


def _mbart(directory: Path, tokenizer_class: type[MBartTokenizer | MBart50Tokenizer]) -> Path:
    vocabulary = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *_unigrams()]
    if tokenizer_class is MBart50Tokenizer:
        vocabulary = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *_unigrams()]
    tokenizer = tokenizer_class(vocab=vocabulary, src_lang="en_XX", tgt_lang="fr_XX")
    tokenizer.save_pretrained(directory)
    config = MBartConfig(
        vocab_size=len(tokenizer), tokenizer_class=tokenizer_class.__name__, decoder_start_token_id=2,
        forced_eos_token_id=None, scale_embedding=True, normalize_before=True, **LAYERS,
    )  # fmt: skip
    MBartForConditionalGeneration(config).save_pretrained(directory)
    return directory


def _unigrams() -> list[tuple[str, float]]:
    """Pieces with scores, as a unigram tokenizer wants them."""
    words = sorted({f"▁{word}" for line in CORPUS for word in line.split()})
    letters = sorted({letter for line in CORPUS for letter in line if letter != " "})
    return [("▁", -3.0), *((word, -4.0) for word in words), *((letter, -6.0) for letter in letters)]


MAKERS = {
    "marian": marian, "marian_to_many": marian_to_many, "nllb": nllb, "nllb_moe": nllb_moe, "mbart50": mbart50,
    "mbart": mbart, "t5": t5,
}  # fmt: skip
TELLING_SEEDS = {"nllb": 4, "nllb_moe": 2, "mbart": 2}  # weights that say something else to each of SENTENCES


def make(family: str, directory: Path) -> Random:
    """Make a model of the family in directory, the same one every time."""
    torch.manual_seed(TELLING_SEEDS.get(family, 1))
    return MAKERS[family](directory)
