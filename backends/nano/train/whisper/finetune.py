"""Train the speech model on: voices without number, and windows as the server cuts them. Needs espeak-ng."""

from __future__ import annotations

import argparse
import json
import shutil
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoTokenizer, WhisperForConditionalGeneration

from backends.nano.train.common import (
    SEED,
    Plan,
    describe,
    optimise,
    save_model,
    seed_torch,
    training_options,
    write_json,
)
from backends.nano.train.whisper.forward import loss_of
from backends.nano.train.whisper.mixing import FINE
from backends.nano.train.whisper.sentences import sayings
from backends.nano.train.whisper.synthesize import Utterance, noises, spoken
from backends.nano.train.whisper.voices import Inventor
from backends.nano.train.whisper.windows import LONG, SHORT, Batch, windows_of

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
FEATURES = "preprocessor_config.json"


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = training_options(__doc__, steps=6000)
    parser.set_defaults(seed=1)
    parser.add_argument("--init", type=Path, required=True, help="directory of the model that train.py made")
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate (default: %(default)s)")
    parser.add_argument("--cooldown", type=int, default=1, help="last steps, of falling rate (default: %(default)s)")
    parser.add_argument("--sentences", type=int, default=40000, help="sentences to speak (default: %(default)s)")
    return parser


def speech(sentences: int, seed: int) -> list[Utterance]:
    """So many sentences, in the voices of espeak-ng that may be trained on and in ones made up for each."""
    texts = sayings(sentences, seed)
    with TemporaryDirectory() as directory:
        inventor = Inventor(Path(directory))
        return spoken(texts, seed, inventor.voice, inventor.espeak)


def window_lengths() -> dict[str, int]:
    """What backends.whisper asks of a model that need not see 30 s: the shortest window and the longest, in seconds."""
    return {"shortest_chunk_length": SHORT // 100, "longest_chunk_length": LONG // 100}


def main(arguments: list[str] | None = None) -> None:
    """Speak the corpus anew, train on and save."""
    args = options().parse_args(arguments)
    seed_torch(args.seed, args.threads)
    utterances = speech(args.sentences, SEED + args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(args.init / name, args.out / name)
    features = json.loads((args.init / FEATURES).read_text(encoding="utf-8"))
    write_json(args.out / FEATURES, {**features, **window_lengths()})
    tokenizer = AutoTokenizer.from_pretrained(args.init)
    windows, phonemes = windows_of(utterances, noises(args.seed), tokenizer, SEED + args.seed, FINE)
    model = WhisperForConditionalGeneration.from_pretrained(args.init, dtype=torch.float32)
    phoneme_head = torch.nn.Linear(model.config.d_model, phonemes)
    print(describe(model), flush=True)

    def loss(batch: Batch) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return loss_of(model, phoneme_head, batch, smoothing=0.0)

    optimise(
        [p for p in chain(model.parameters(), phoneme_head.parameters()) if p.requires_grad],
        windows.passages(),
        loss,
        Plan(steps=args.steps, peak=args.rate, warmup=120, weight_decay=0.02, cooldown=args.cooldown),
        save=lambda: save_model(model, args.out),
    )


if __name__ == "__main__":
    main()
