"""Train the translation model: an M2M100 of 1.2 M parameters between the four languages of sentences.py."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import permutations
from random import Random

import torch
from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer

from backends.nano.train.common import (
    IGNORED,
    SEED,
    Plan,
    describe,
    optimise,
    padded,
    save_model,
    seed_torch,
    slices,
    training_options,
)
from backends.nano.train.translate.lexicon import LANGUAGES
from backends.nano.train.translate.sentences import sample
from backends.nano.train.translate.tokenizer import train_tokenizer

POOL = 40  # batches drawn at a time, to be grouped by length
DIRECTIONS = list(permutations(range(len(LANGUAGES)), 2))

Row = tuple[list[int], list[int]]


def with_slips(r: Random, text: str) -> str:
    """A source sentence as people type it: sometimes without its full stop or its capital."""
    if r.random() < 0.06 and text[-1] == ".":
        text = text[:-1]
    if r.random() < 0.04:
        text = text[:1].lower() + text[1:]
    return text


def batches(
    tokenizer: M2M100Tokenizer, seed: int, rows: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Endless (source ids, decoder ids, labels), `rows` of similar lengths; each meaning goes in two directions."""
    r = Random(SEED + 1 + seed)
    codes = [tokenizer.get_lang_id(language) for language in LANGUAGES]
    end, pad, unknown = tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id

    def encode(language: int, text: str) -> list[int]:
        pieces = tokenizer.sp_model.encode(text, out_type=str)
        return [codes[language], *(tokenizer.encoder.get(piece, unknown) for piece in pieces), end]

    while True:
        pool: list[Row] = []
        while len(pool) < rows * POOL:
            _, meaning = sample(r, False)
            for source, target in r.sample(DIRECTIONS, 2):
                pool.append((encode(source, with_slips(r, meaning[source])), encode(target, meaning[target])))
        pool.sort(key=lambda row: len(row[0]) + len(row[1]) + r.random() * 2)
        grouped = list(slices(pool, rows))
        r.shuffle(grouped)
        for batch in grouped:
            yield (
                padded([source for source, _ in batch], pad),
                padded([[end, *target[:-1]] for _, target in batch], pad),
                # The language code is given when translating, so it is not taught.
                padded([[IGNORED, *target[1:]] for _, target in batch], IGNORED),
            )


def build_model(tokenizer: M2M100Tokenizer) -> M2M100ForConditionalGeneration:
    """An untrained model for this tokenizer."""
    config = M2M100Config(
        vocab_size=len(tokenizer) + tokenizer.num_madeup_words,
        d_model=128,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=512,
        decoder_ffn_dim=512,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        max_position_embeddings=256,
        init_std=0.06,
        scale_embedding=True,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
    )
    model = M2M100ForConditionalGeneration(config)
    model.generation_config.max_length = 128
    return model


def loss_of(
    model: M2M100ForConditionalGeneration, source: torch.Tensor, decoder: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy of the target's tokens."""
    taught = labels != IGNORED
    attended = (source != model.config.pad_token_id).long()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(
            input_ids=source, attention_mask=attended, decoder_input_ids=decoder, use_cache=False
        ).last_hidden_state
        logits = model.lm_head(hidden[taught])
    return torch.nn.functional.cross_entropy(logits.float(), labels[taught])


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = training_options(__doc__, steps=4800)
    parser.add_argument("--rate", type=float, default=2.5e-3, help="highest learning rate (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=96, help="sentences in a batch (default: %(default)s)")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Train and save."""
    args = options().parse_args(arguments)
    seed_torch(args.seed, args.threads)
    tokenizer = train_tokenizer(args.out)
    model = build_model(tokenizer)
    print(describe(model), flush=True)
    optimise(
        model.train().parameters(),
        batches(tokenizer, args.seed, args.rows),
        lambda batch: loss_of(model, *batch),
        Plan(steps=args.steps, peak=args.rate, warmup=200, weight_decay=0.01),
    )
    save_model(model, args.out)


if __name__ == "__main__":
    main()
