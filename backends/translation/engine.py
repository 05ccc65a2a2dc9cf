"""The two engines that turn framed sentences into pieces: CTranslate2, and transformers' generate for what it lacks."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import ctranslate2
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from backends.errors import Broken
from backends.inprocess.batch import out_of_memory
from backends.inprocess.checkpoints import computing, reading
from backends.translation.decoding import Decoding
from backends.translation.family import Framed

# Tokens that run together, padding included: sentences are sorted by length, so that fewer waste less on padding, and more
# fill a device better.
_TOGETHER = {"cpu": 1024, "cuda": 4096}
_MOST_THREADS = 4
_FAILED = "The translation model failed on this text; try it in smaller parts."
_PATIENCE = 2.0  # how many times beam_size candidates are finished before the search ends, when not early


class Engine(Protocol):
    """Searches; blocking, one call at a time."""

    @property
    def vocabulary(self) -> frozenset[str]:
        """Every token that the model knows."""

    def search(self, sentences: Sequence[Framed], decoding: Decoding) -> list[list[str]]:
        """The best answer to each sentence: pieces behind its prefix, special tokens among them.

        Raises Broken, and RuntimeError when the memory is too small for so many.
        """


class CTranslate2Engine:
    """A model in CTranslate2's format; sentences between any languages share a batch."""

    def __init__(self, directory: Path, *, device: str, compute_type: str) -> None:
        self._translator = ctranslate2.Translator(
            str(directory), device=device, compute_type=compute_type, intra_threads=_threads()
        )
        self._together = _TOGETHER[device]
        self._directory = directory
        # Without a start token of its own, the decoder starts with the prefix, which is then no part of the answer.
        config = json.loads((directory / "config.json").read_bytes())
        self._repeats_prefix = config.get("decoder_start_token") is not None

    @property
    def vocabulary(self) -> frozenset[str]:
        return frozenset(token for path in self._directory.glob("*_vocabulary.*") for token in _read_vocabulary(path))

    def search(self, sentences: Sequence[Framed], decoding: Decoding) -> list[list[str]]:
        repeated = len(sentences[0].prefix) if sentences and self._repeats_prefix else 0
        try:
            results = self._translator.translate_batch(
                [list(sentence.tokens) for sentence in sentences],
                target_prefix=[list(sentence.prefix) or None for sentence in sentences],
                max_batch_size=self._together,
                batch_type="tokens",
                beam_size=decoding.beam_size,
                patience=1.0 if decoding.early_stopping else _PATIENCE,
                length_penalty=decoding.length_penalty,
                no_repeat_ngram_size=decoding.no_repeat_ngram_size,
                max_input_length=0,
                max_decoding_length=decoding.max_new_tokens + repeated,
            )
        except (RuntimeError, ValueError) as error:
            if out_of_memory(error):
                raise
            raise Broken(_FAILED) from error
        return [result.hypotheses[0][repeated:] for result in results]


class GenerateEngine:
    """Any sequence-to-sequence checkpoint that transformers knows, in its safetensors, without code of its own."""

    def __init__(self, directory: Path, *, device: str) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
        with reading():
            model = AutoModelForSeq2SeqLM.from_pretrained(
                directory,
                trust_remote_code=False,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float16 if device == "cuda" else torch.float32,
            )
        self._model = model.to(device).eval()

    @property
    def vocabulary(self) -> frozenset[str]:
        return frozenset(self._tokenizer.get_vocab())

    def search(self, sentences: Sequence[Framed], decoding: Decoding) -> list[list[str]]:
        ids = [self._tokenizer.convert_tokens_to_ids(list(sentence.tokens)) for sentence in sentences]
        batch = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self._model.device)
        start = self._model.generation_config.decoder_start_token_id
        prefixes = [[start, *self._tokenizer.convert_tokens_to_ids(list(sentence.prefix))] for sentence in sentences]
        beams = {"early_stopping": decoding.early_stopping, "length_penalty": decoding.length_penalty}
        try:
            with computing(), torch.inference_mode():
                answers = self._model.generate(
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    decoder_input_ids=torch.tensor(prefixes, device=self._model.device),
                    do_sample=False,
                    num_beams=decoding.beam_size,
                    no_repeat_ngram_size=decoding.no_repeat_ngram_size,
                    max_new_tokens=decoding.max_new_tokens,
                    **(beams if decoding.beam_size > 1 else {}),
                )
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            raise Broken(_FAILED) from error
        return [self._tokenizer.convert_ids_to_tokens(answer) for answer in answers[:, len(prefixes[0]) :].tolist()]


def _threads() -> int:
    """Four, or every core but one where there are fewer, unless OMP_NUM_THREADS says otherwise (0 = leave it to that).

    They wait for each other busily, many times in each step of a sentence, so that all lose when one of them has to share
    its core with the event loop or another engine.
    """
    cores = len(os.sched_getaffinity(0))
    return 0 if "OMP_NUM_THREADS" in os.environ else max(1, min(_MOST_THREADS, cores - 1))


def _read_vocabulary(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return list(json.loads(text)) if path.suffix == ".json" else text.split("\n")
