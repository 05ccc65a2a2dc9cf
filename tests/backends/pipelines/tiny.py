"""Tiny random models, one for each kind of task, and files to ask them about."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import backends

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
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64, "init_std": 0.5,
    "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0, "decoder_start_token_id": 2, "forced_eos_token_id": 3,
}  # fmt: skip
VISION = {**SHAPE, "image_size": 32, "patch_size": 8, "num_channels": 3}
LABELS = {"id2label": {0: "no", 1: "yes", 2: "entailment"}, "label2id": {"no": 0, "yes": 1, "entailment": 2}}
Make = Callable[[Path], None]


def tokenizer(directory: Path) -> int:
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
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    wrapped.save_pretrained(directory)
    return len(wrapped)


def bert(head: str) -> Make:
    def make(directory: Path) -> None:
        labels = {} if head == "ForQuestionAnswering" else LABELS
        config = transformers.BertConfig(vocab_size=tokenizer(directory), **BERT, **labels)
        _save(getattr(transformers, f"Bert{head}")(config), directory)

    return make


def roberta(directory: Path) -> None:
    config = transformers.RobertaConfig(vocab_size=tokenizer(directory), **BERT, **LABELS, pad_token_id=0)
    _save(transformers.RobertaForSequenceClassification(config), directory)


def bart(directory: Path) -> None:
    config = transformers.BartConfig(
        vocab_size=tokenizer(directory),
        **SEQ2SEQ,
        task_specific_params={"summarization": {"max_length": 12, "num_beams": 2}},
    )
    _save(transformers.BartForConditionalGeneration(config), directory)


def t5(directory: Path) -> None:
    told = {
        "translation_en_to_fr": {"prefix": "the a ", "max_length": 9},
        "summarization": {"prefix": "summarize : ", "max_length": 11},
    }
    config = transformers.T5Config(
        vocab_size=tokenizer(directory), d_model=32, d_ff=64, d_kv=16, num_layers=1, num_heads=2, pad_token_id=0, eos_token_id=3,
        decoder_start_token_id=0, task_specific_params=told,
    )  # fmt: skip
    _save(transformers.T5ForConditionalGeneration(config), directory)


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
    _save(transformers.GPT2LMHeadModel(config), directory)


def vit(directory: Path) -> None:
    _save(transformers.ViTForImageClassification(transformers.ViTConfig(**VISION, **LABELS)), directory)
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(directory)


def wav2vec2(head: str) -> Make:
    def make(directory: Path) -> None:
        letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz"]
        config = transformers.Wav2Vec2Config(
            **SHAPE, **LABELS, vocab_size=len(letters), conv_dim=(32, 32), conv_stride=(5, 4), conv_kernel=(10, 8), num_feat_extract_layers=2,
            num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, feat_extract_norm="layer", do_stable_layer_norm=True, pad_token_id=0,
            classifier_proj_size=32,
        )  # fmt: skip
        _save(getattr(transformers, f"Wav2Vec2For{head}")(config), directory)
        transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(directory)
        vocabulary = directory / "letters.json"
        vocabulary.write_text(str({letter: number for number, letter in enumerate(letters)}).replace("'", '"'))
        transformers.Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(directory)

    return make


def _save(network: transformers.PreTrainedModel, directory: Path) -> None:
    network.eval().save_pretrained(directory)


def made(directory: Path, make: Make) -> Path:
    """The directory, with the model in it."""
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    make(directory)
    return directory


# --------------------------------------------------------------------------- files


def png(width: int = 40, height: int = 24, *, kind: str = "PNG", mode: str = "RGB") -> bytes:
    """A picture of squares."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([(x * 6) % 256, (y * 10) % 256, ((x // 8 + y // 8) % 2) * 255], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


def sound(seconds: float = 0.5, rate: int = 16_000) -> bytes:
    """A tone, as WAV."""
    samples = (np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * 440 / rate) * 8000).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes(samples.tobytes())
    return file.getvalue()


def b64(data: bytes) -> str:
    """As clients send files in JSON."""
    return base64.b64encode(data).decode()
