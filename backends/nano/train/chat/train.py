"""Train the chat model: a Llama of 1.2 M parameters that answers dialogues.py, with loss on the answers only."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from backends.nano.train.chat.dialogues import Dialogue, training_dialogue
from backends.nano.train.chat.tokenizer import train_tokenizer
from backends.nano.train.common import (
    IGNORED,
    SEED,
    Plan,
    describe,
    optimise,
    padded,
    save_model,
    seed_torch,
    training_options,
)

POOL = 6000  # dialogues drawn at a time, to be grouped by length
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")

Row = tuple[list[int], list[int]]


def encode(tokenizer: PreTrainedTokenizerFast, dialogues: list[Dialogue]) -> list[Row]:
    """(ids, labels) of every dialogue as the chat template writes it; labels cover what the model says."""
    spoken = [
        [("<|system|>", d.system)] * bool(d.system)
        + [part for turn in d.turns for part in (("<|user|>", turn.prompt), ("<|assistant|>", turn.answer))]
        for d in dialogues
    ]
    texts = [text for parts in spoken for _, text in parts]
    codes = iter(tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False))
    end = tokenizer.eos_token_id
    rows: list[Row] = []
    for parts in spoken:
        ids, labels = [tokenizer.bos_token_id], [IGNORED]
        for role, _ in parts:
            said = [*next(codes).ids, end]
            ids += [tokenizer.convert_tokens_to_ids(role), *said]
            labels += [IGNORED, *(said if role == "<|assistant|>" else [IGNORED] * len(said))]
        rows.append((ids, labels))
    return rows


def group(rows: list[Row], tokens: int) -> list[list[Row]]:
    """Rows in their order, cut into batches of at most `tokens` after padding."""
    batches: list[list[Row]] = [[]]
    width = 0
    for row in rows:
        width = max(width, len(row[0]))
        if batches[-1] and width * (len(batches[-1]) + 1) > tokens:
            batches.append([])
            width = len(row[0])
        batches[-1].append(row)
    return batches


def batches(
    tokenizer: PreTrainedTokenizerFast, seed: int, tokens: int, long_share: float
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (ids, labels) [rows, longest] of similar lengths, about `tokens` padded tokens each."""
    r = Random(SEED + 1 + seed)
    while True:
        rows = encode(tokenizer, [training_dialogue(r, long_share) for _ in range(POOL)])
        rows.sort(key=lambda row: len(row[0]) + r.random() * 4)
        grouped = group(rows, tokens)
        r.shuffle(grouped)
        for batch in grouped:
            yield (
                padded([ids for ids, _ in batch], tokenizer.pad_token_id),
                padded([labels for _, labels in batch], IGNORED),
            )


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model whose heads of 32 are the smallest that vLLM's attention accepts."""
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        initializer_range=0.04,
        **special,
    )
    model = LlamaForCausalLM(config)
    model.generation_config.update(max_new_tokens=256, **special)
    return model


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the next token, computed only where a label stands."""
    targets = labels[:, 1:]
    taught = targets != IGNORED
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[:, :-1][taught])
    return torch.nn.functional.cross_entropy(logits.float(), targets[taught])


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = training_options(__doc__, steps=6000)
    parser.add_argument("--init", type=Path, help="model directory to go on from (its tokenizer too)")
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=2560, help="padded tokens in a batch (default: %(default)s)")
    parser.add_argument(
        "--long-share", type=float, default=0.15, help="share of dialogues of 5 to 18 turns (default: %(default)s)"
    )
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Train and save."""
    args = options().parse_args(arguments)
    seed_torch(args.seed, args.threads)
    if args.init:
        tokenizer = AutoTokenizer.from_pretrained(args.init)
        model = LlamaForCausalLM.from_pretrained(args.init, dtype=torch.float32)
        args.out.mkdir(parents=True, exist_ok=True)
        for name in TOKENIZER_FILES:
            shutil.copy(args.init / name, args.out / name)
    else:
        tokenizer = train_tokenizer(args.out)
        model = build_model(tokenizer)
    print(describe(model), flush=True)
    optimise(
        model.train().parameters(),
        batches(tokenizer, args.seed, args.tokens, args.long_share),
        lambda batch: loss_of(model, *batch),
        Plan(steps=args.steps, peak=args.rate, warmup=150, weight_decay=0.05),
    )
    save_model(model, args.out)


if __name__ == "__main__":
    main()
