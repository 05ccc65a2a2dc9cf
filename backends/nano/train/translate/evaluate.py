"""Exact match of a translation model, greedy, in twelve directions on meanings that were never trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path

import torch
from transformers import M2M100ForConditionalGeneration, M2M100Tokenizer

from backends.nano.train.common import evaluation_options, score_table, slices
from backends.nano.train.translate.lexicon import LANGUAGES, Words
from backends.nano.train.translate.sentences import evaluation_set


class Translator:
    """A model directory as transformers runs it, in float32."""

    def __init__(self, directory: Path) -> None:
        self.tokenizer = M2M100Tokenizer.from_pretrained(directory)
        self.model = M2M100ForConditionalGeneration.from_pretrained(directory, dtype=torch.float32).eval()
        self.model.generation_config.update(max_length=96, num_beams=1, do_sample=False)

    def translate(self, texts: Sequence[str], source: str, target: str, rows: int = 64) -> Iterator[str]:
        """Every text in the language `target`."""
        self.tokenizer.src_lang = source
        code = self.tokenizer.get_lang_id(target)
        for batch in slices(texts, rows):
            inputs = self.tokenizer(list(batch), padding=True, return_tensors="pt")
            with torch.inference_mode():
                output = self.model.generate(**inputs, forced_bos_token_id=code)
            yield from self.tokenizer.batch_decode(output, skip_special_tokens=True)


def compare(translator: Translator, meanings: Sequence[Words]) -> Iterator[tuple[str, str, str, str]]:
    """(direction, source text, wanted, got) of every meaning in every direction."""
    for i, j in permutations(range(len(LANGUAGES)), 2):
        sources = [meaning[i] for meaning in meanings]
        translated = translator.translate(sources, LANGUAGES[i], LANGUAGES[j])
        for meaning, got in zip(meanings, translated, strict=True):
            yield f"{LANGUAGES[i]}-{LANGUAGES[j]}", meaning[i], meaning[j], got


def main(arguments: list[str] | None = None) -> None:
    """Print every miss, then the share of exact translations by direction."""
    parser = evaluation_options(__doc__, "translate")
    parser.add_argument("--meanings", type=int, default=150, help="held-out meanings (default: %(default)s)")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    results: dict[str, list[bool]] = {}
    meanings = [meaning for _, meaning in evaluation_set(args.meanings)]
    for direction, text, wanted, got in compare(Translator(args.model), meanings):
        results.setdefault(direction, []).append(got == wanted)
        if got != wanted:
            print(f"miss ({direction}): {text!r}, wanted {wanted!r}, got {got!r}", flush=True)
    print(score_table(results))


if __name__ == "__main__":
    main()
