"""The chat tokenizer: byte-level BPE over the dialogues, six special tokens, and the chat template."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from backends.nano.train.chat.dialogues import training_dialogue
from backends.nano.train.chat.world import world
from backends.nano.train.common import SEED, write_json

ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL = ("<|pad|>", "<|bos|>", "<|end|>", *ROLES)
VOCABULARY = 1024
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|' + m['role'] + '|>' + (m['content'] | trim) + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def sample_text(dialogues: int) -> Iterator[str]:
    """Dialogues as plain text, the numbers to 50, and every word and name thrice."""
    r = Random(SEED)
    for _ in range(dialogues):
        dialogue = training_dialogue(r, long_share=0.05)
        said = [text for turn in dialogue.turns for text in turn]
        yield " ".join([dialogue.system, *said] if dialogue.system else said)
    yield " ".join(map(str, range(51))) * 200
    words = world().words
    yield from (f"{word} {word} {word}" for word in (*words["common"], *words["names"]))


def train_tokenizer(out: Path, dialogues: int = 30000) -> PreTrainedTokenizerFast:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja to `out`, and load them.

    The template stands in both places: TGI reads the first, transformers 5 the second.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(sample_text(dialogues), trainer)
    out.mkdir(parents=True, exist_ok=True)
    bpe.save(str(out / "tokenizer.json"))
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    config = {
        "additional_special_tokens": list(ROLES),
        "bos_token": "<|bos|>",
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|end|>",
        # Without token_type_ids, which LlamaForCausalLM.generate refuses.
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 2048,
        "pad_token": "<|pad|>",
        "padding_side": "left",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_json(out / "tokenizer_config.json", config)
    return AutoTokenizer.from_pretrained(out)
