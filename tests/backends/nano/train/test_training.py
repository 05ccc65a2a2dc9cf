"""Three steps of each training write a model that loads, in exactly the files that are shipped."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    M2M100ForConditionalGeneration,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from backends.nano.train.chat import train as chat
from backends.nano.train.chat.dialogues import Dialogue, training_dialogue
from backends.nano.train.chat.evaluate import messages
from backends.nano.train.chat.families import Turn
from backends.nano.train.common import IGNORED, SHIPPED
from backends.nano.train.translate import train as translate
from backends.nano.train.whisper import finetune
from backends.nano.train.whisper import train as whisper
from backends.nano.train.whisper.espeak import Espeak, EspeakMissing
from backends.nano.train.whisper.sentences import corpus
from backends.nano.train.whisper.synthesize import Utterance


def names(directory: Path) -> set[str]:
    return {file.name for file in directory.iterdir()}


def same_weights(a: Path, b: Path) -> bool:
    return (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()


def test_chat_trains_on_from_the_shipped_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "POOL", 100)
    outs = [tmp_path / "a", tmp_path / "b"]
    for out in outs:
        chat.main(["--out", str(out), "--init", str(SHIPPED / "chat"), "--steps", "3", "--tokens", "512"])
    assert names(outs[0]) == names(SHIPPED / "chat")
    assert same_weights(*outs)
    assert not same_weights(outs[0], SHIPPED / "chat")
    assert AutoModelForCausalLM.from_pretrained(outs[0]).dtype == torch.float16


def test_chat_trains_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "POOL", 100)
    out = tmp_path / "chat"
    chat.main(["--out", str(out), "--steps", "3", "--tokens", "512"])
    assert names(out) == names(SHIPPED / "chat")
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert AutoModelForCausalLM.from_pretrained(out).config.vocab_size == len(tokenizer) == 1024
    assert set(tokenizer("hello")) == {"input_ids", "attention_mask"}


def test_chat_learns_answers_alone_in_the_template_s_own_words() -> None:
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "chat")
    dialogue = Dialogue("Be brief.", [Turn("hi", "Hello!"), Turn("What is 1 + 1?", "1 + 1 = 2.")])
    ((ids, labels),) = chat.encode(tokenizer, [dialogue])
    chat_so_far = [*messages(dialogue), {"role": "assistant", "content": "1 + 1 = 2."}]
    assert tokenizer.decode(ids) == tokenizer.apply_chat_template(chat_so_far, tokenize=False)
    assert tokenizer.decode([label for label in labels if label != IGNORED]) == "Hello!<|end|>1 + 1 = 2.<|end|>"


def test_chat_batches_hold_their_budget_and_lose_nothing() -> None:
    r = Random(1)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "chat")
    rows = chat.encode(tokenizer, [training_dialogue(r, 0.2) for _ in range(60)])
    grouped = chat.group(rows, tokens=1024)
    assert [row for batch in grouped for row in batch] == rows
    assert all(len(batch) == 1 or len(batch) * max(len(ids) for ids, _ in batch) <= 1024 for batch in grouped)


def test_translation_trains_from_nothing_with_the_shipped_vocabulary(tmp_path: Path) -> None:
    out = tmp_path / "translate"
    translate.main(["--out", str(out), "--steps", "3", "--rows", "8"])
    assert names(out) == names(SHIPPED / "translate")
    for name in ("vocab.json", "tokenizer_config.json"):
        assert json.loads((out / name).read_text()) == json.loads((SHIPPED / "translate" / name).read_text())
    assert M2M100ForConditionalGeneration.from_pretrained(out).config.vocab_size == 2308


def test_translation_batches_begin_with_the_language_and_do_not_teach_it() -> None:
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "translate")
    codes = {tokenizer.get_lang_id(language) for language in ("en", "es", "fr", "de")}
    for source, decoder, labels in islice(translate.batches(tokenizer, seed=0, rows=4), 5):
        assert set(source[:, 0].tolist()) <= codes
        assert set(decoder[:, 1].tolist()) <= codes
        assert set(decoder[:, 0].tolist()) == {tokenizer.eos_token_id}
        assert set(labels[:, 0].tolist()) == {IGNORED}


def test_speech_trains_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speak_in_tones: Callable[[Sequence[str]], list[Utterance]]
) -> None:
    """With espeak-ng's voices where they are installed, with tones where not."""
    try:
        Espeak()
    except EspeakMissing:
        monkeypatch.setattr(whisper, "spoken", lambda texts, seed: speak_in_tones(texts))
    out = tmp_path / "whisper"
    whisper.main(["--out", str(out), "--steps", "3", "--sentences", "40"])
    assert names(out) == names(SHIPPED / "whisper")
    assert WhisperForConditionalGeneration.from_pretrained(out).generation_config.alignment_heads == [[2, 0], [2, 1]]
    assert WhisperProcessor.from_pretrained(out).feature_extractor.feature_size == 80


def test_one_seed_one_speech_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speak_in_tones: Callable[[Sequence[str]], list[Utterance]]
) -> None:
    """On tones: within one process espeak-ng says a sentence a little differently each time."""
    monkeypatch.setattr(whisper, "spoken", lambda texts, seed: speak_in_tones(texts))
    outs = [tmp_path / "a", tmp_path / "b"]
    for out in outs:
        whisper.main(["--out", str(out), "--steps", "1", "--sentences", "30"])
    assert same_weights(*outs)


def test_fine_tuning_starts_from_a_model_and_writes_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speak_in_tones: Callable[[Sequence[str]], list[Utterance]]
) -> None:
    monkeypatch.setattr(finetune, "speech", lambda sentences, seed: speak_in_tones(corpus(sentences)[0]))
    shipped = SHIPPED / "whisper"
    outs = [tmp_path / "a", tmp_path / "b"]
    for out in outs:
        finetune.main(["--init", str(shipped), "--out", str(out), "--steps", "1", "--sentences", "100"])
    assert names(outs[0]) == names(shipped)
    assert same_weights(*outs)
    assert not same_weights(outs[0], shipped)
    for name in names(shipped) - {"model.safetensors", "config.json", "generation_config.json"}:
        assert (outs[0] / name).read_bytes() == (shipped / name).read_bytes()
