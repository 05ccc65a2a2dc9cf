"""Tiny random models that read text, one for each kind of task."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import backends

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NANO = Path(backends.__file__).parent / "nano"
TEXT = "Emma bought the yellow box at the hotel . Who bought it ?"
WORDS = (
    "the a of to and is in it you that he was for on are with as his they at be this from have or one had by not but"
)
CORPUS = [
    TEXT.lower(),
    WORDS,
    "summarize : positive negative neutral entailment question context labels",
    "abcdefghijklmnopqrstuvwxyz0123456789",
]
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
BERT = {**SHAPE, "max_position_embeddings": 64, "type_vocab_size": 2}
SEQ2SEQ = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "init_std": 0.5,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 0,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 3,
}
LABELS = {"id2label": {0: "no", 1: "yes", 2: "entailment"}, "label2id": {"no": 0, "yes": 1, "entailment": 2}}
Make = Callable[[Path], None]


def tokenizer(directory: Path, *inputs: str) -> int:
    """WordPiece, cased down, as BERT has it; returns how many tokens."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(
        CORPUS * 2, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="[CLS]",
        eos_token="[SEP]",
        model_max_length=64,
        **names,
        model_input_names=list(inputs or ("input_ids", "token_type_ids", "attention_mask")),
    )
    wrapped.save_pretrained(directory)
    return len(wrapped)


def bert(head: str) -> Make:
    def make(directory: Path) -> None:
        labels = {} if head == "ForQuestionAnswering" else LABELS
        config = transformers.BertConfig(vocab_size=tokenizer(directory), **BERT, **labels)
        save(getattr(transformers, f"Bert{head}")(config), directory)

    return make


def roberta(directory: Path) -> None:
    config = transformers.RobertaConfig(vocab_size=tokenizer(directory), **BERT, **LABELS, pad_token_id=0)
    save(transformers.RobertaForSequenceClassification(config), directory)


def bart(directory: Path) -> None:
    config = transformers.BartConfig(
        vocab_size=tokenizer(directory),
        **SEQ2SEQ,
        task_specific_params={"summarization": {"max_length": 12, "num_beams": 2}},
    )
    save(transformers.BartForConditionalGeneration(config), directory)


def t5(directory: Path) -> None:
    told = {
        "translation_en_to_fr": {"prefix": "the a ", "max_length": 9},
        "summarization": {"prefix": "summarize : ", "max_length": 11},
    }
    config = transformers.T5Config(
        vocab_size=tokenizer(directory),
        d_model=32,
        d_ff=64,
        d_kv=16,
        num_layers=1,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=3,
        decoder_start_token_id=0,
        task_specific_params=told,
    )
    save(transformers.T5ForConditionalGeneration(config), directory)


def gpt2(directory: Path) -> None:
    config = transformers.GPT2Config(
        vocab_size=tokenizer(directory),
        n_layer=2,
        n_head=2,
        n_embd=32,
        n_positions=64,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    save(transformers.GPT2LMHeadModel(config), directory)


def tapas(directory: Path) -> None:
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "[EMPTY]",
        "who",
        "is",
        "the",
        "age",
        "of",
        "brad",
        "pitt",
        "56",
        "61",
        "actors",
        "how",
        "old",
        "a",
    ]
    (directory / "vocab.txt").write_text("\n".join(words))
    transformers.TapasTokenizer(str(directory / "vocab.txt")).save_pretrained(directory)
    config = transformers.TapasConfig(vocab_size=len(words), **{**SHAPE, "max_position_embeddings": 512})
    save(transformers.TapasForQuestionAnswering(config), directory)


def distilbert(directory: Path) -> None:
    config = transformers.DistilBertConfig(
        vocab_size=tokenizer(directory),
        dim=32,
        n_layers=1,
        n_heads=2,
        hidden_dim=64,
        max_position_embeddings=64,
        id2label={0: "NEGATIVE", 1: "POSITIVE"},
        label2id={"NEGATIVE": 0, "POSITIVE": 1},
    )
    save(transformers.DistilBertForSequenceClassification(config), directory)


def layoutlm(directory: Path) -> None:
    config = transformers.LayoutLMConfig(vocab_size=tokenizer(directory), **BERT, max_2d_position_embeddings=1024)
    save(transformers.LayoutLMForQuestionAnswering(config), directory)


def save(network: transformers.PreTrainedModel, directory: Path) -> None:
    """Write it down, ready to use."""
    network.eval().save_pretrained(directory)


def made(directory: Path, make: Make) -> Path:
    """The directory, with the model in it."""
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    make(directory)
    return directory


def cached(home: Path, **models: Make | Path) -> Path:
    """HF_HOME with these models in its cache, as the hub's client leaves them. `__` in a name stands for `/`, `_` for `-`."""
    for name, make in models.items():
        folder = home / "hub" / f"models--{name.replace('__', '--').replace('_', '-')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(COMMIT)
        snapshot = folder / "snapshots" / COMMIT
        if isinstance(make, Path):
            shutil.copytree(make, snapshot)
        else:
            made(snapshot, make)
    return home
