"""Train the speech model: an English Whisper of 2 M parameters on synthetic speech. Needs espeak-ng."""

from __future__ import annotations

import argparse
from itertools import chain

import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration, WhisperTokenizer

from backends.nano.train.common import SEED, Plan, describe, optimise, save_model, seed_torch, training_options
from backends.nano.train.whisper.forward import GUIDED_HEADS, loss_of
from backends.nano.train.whisper.sentences import corpus
from backends.nano.train.whisper.synthesize import noises, spoken
from backends.nano.train.whisper.tokenizer import TIMESTAMPS, special_ids, train_tokenizer
from backends.nano.train.whisper.windows import windows_of

WIDTH, LAYERS, HEADS = 128, 3, 4


def build_model(tokenizer: WhisperTokenizer) -> WhisperForConditionalGeneration:
    """An untrained model for this tokenizer."""
    ids = special_ids(tokenizer)
    special = {
        "pad_token_id": ids.end,
        "bos_token_id": ids.end,
        "eos_token_id": ids.end,
        "decoder_start_token_id": ids.start,
    }
    config = WhisperConfig(
        vocab_size=ids.zero + TIMESTAMPS,
        d_model=WIDTH,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=4 * WIDTH,
        decoder_ffn_dim=4 * WIDTH,
        dropout=0.0,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        **special,
    )
    model = WhisperForConditionalGeneration(config)
    never = ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    model.generation_config = GenerationConfig(
        **special,
        max_length=448,
        is_multilingual=False,
        no_timestamps_token_id=ids.no_timestamps,
        prev_sot_token_id=ids.previous,
        max_initial_timestamp_index=50,
        return_timestamps=False,
        # OpenAI's models suppress the end here too; without it silence gives empty text.
        begin_suppress_tokens=tokenizer.encode(" ", add_special_tokens=False),
        suppress_tokens=[*tokenizer.convert_tokens_to_ids(never), ids.start],
        alignment_heads=[[LAYERS - 1, head] for head in GUIDED_HEADS],
    )
    return model


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = training_options(__doc__, steps=5400)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate (default: %(default)s)")
    parser.add_argument("--sentences", type=int, default=20000, help="sentences to speak (default: %(default)s)")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Speak the corpus, train and save."""
    args = options().parse_args(arguments)
    seed_torch(args.seed, args.threads)
    texts, _ = corpus(args.sentences)
    utterances = spoken(texts, SEED + args.seed)
    hours = sum(utterance.length for utterance in utterances) / 360000
    print(f"{len(utterances)} utterances, {hours:.2f} h", flush=True)
    tokenizer = train_tokenizer(texts, args.out)
    windows, phonemes = windows_of(utterances, noises(args.seed), tokenizer, SEED + args.seed)
    model = build_model(tokenizer)
    phoneme_head = torch.nn.Linear(WIDTH, phonemes)
    print(describe(model), flush=True)
    trainable = [p for p in chain(model.parameters(), phoneme_head.parameters()) if p.requires_grad]
    optimise(
        trainable,
        windows.curriculum(args.steps),
        lambda batch: loss_of(model, phoneme_head, batch),
        Plan(steps=args.steps, peak=args.rate, warmup=120, weight_decay=0.02),
    )
    save_model(model, args.out)


if __name__ == "__main__":
    main()
