"""The speech tokenizer: 600 byte-level pieces, then Whisper's special tokens in Whisper's order, then the timestamps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperTokenizer
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from backends.nano.train.common import write_json

PIECES = 600
END = "<|endoftext|>"
SPECIAL = (
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
TIMESTAMPS = 1501  # <|0.00|> to <|30.00|>
POSITIONS_PER_SECOND = 50


@dataclass(frozen=True)
class Ids:
    """The tokens that the decoder's prompt and targets are made of; a timestamp is `zero` plus its position."""

    end: int
    start: int
    previous: int
    no_speech: int
    no_timestamps: int

    @property
    def zero(self) -> int:
        """<|0.00|>."""
        return self.no_timestamps + 1


def special_ids(tokenizer: WhisperTokenizer) -> Ids:
    """The ids of `tokenizer`."""
    names = (END, "<|startoftranscript|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")
    return Ids(*tokenizer.convert_tokens_to_ids(list(names)))


def train_tokenizer(texts: Sequence[str], out: Path) -> WhisperTokenizer:
    """Write tokenizer.json, tokenizer_config.json and preprocessor_config.json to `out`, and load the tokenizer."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=PIECES, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator((f" {text}" for text in texts), trainer)
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (END, *SPECIAL)])
    times = (f"<|{i / POSITIONS_PER_SECOND:.2f}|>" for i in range(TIMESTAMPS))
    bpe.add_tokens([AddedToken(time, special=False, normalized=False) for time in times])
    out.mkdir(parents=True, exist_ok=True)
    bpe.save(str(out / "tokenizer.json"))
    config = {
        "add_prefix_space": False,
        "additional_special_tokens": list(SPECIAL),
        "bos_token": END,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "model_max_length": 448,
        "pad_token": END,
        "processor_class": "WhisperProcessor",
        "tokenizer_class": "WhisperTokenizer",
        "unk_token": END,
    }
    write_json(out / "tokenizer_config.json", config)
    # transformers 5 saves processor_config.json; faster-whisper and vLLM read this one.
    features = {**WhisperFeatureExtractor().to_dict(), "processor_class": "WhisperProcessor"}
    features.pop("mel_filters", None)
    write_json(out / "preprocessor_config.json", features)
    return AutoTokenizer.from_pretrained(out)
