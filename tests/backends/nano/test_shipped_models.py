"""The shipped models are whole, small, safe, and answer what their README says."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors import safe_open

from backends.nano.train.chat.dialogues import Dialogue, evaluation_set
from backends.nano.train.chat.evaluate import answers
from backends.nano.train.chat.families import Turn
from backends.nano.train.common import SHIPPED
from backends.nano.train.translate.evaluate import Translator, compare
from backends.nano.train.translate.sentences import evaluation_set as meanings
from backends.nano.train.whisper.audio import RATE
from backends.nano.train.whisper.clips import NEVER_TRAINED, Clip, clips, quiet
from backends.nano.train.whisper.espeak import EspeakMissing
from backends.nano.train.whisper.evaluate import load, normalised, served, transcribe, word_error_rate

SPEECH = Path(__file__).parents[2] / "data" / "speech"
MODEL = {"config.json", "generation_config.json", "model.safetensors", "tokenizer_config.json"}
FILES = {
    "chat": MODEL | {"tokenizer.json", "chat_template.jinja"},
    "translate": MODEL | {"sentencepiece.bpe.model", "vocab.json"},
    "whisper": MODEL | {"tokenizer.json", "preprocessor_config.json"},
}
MEGABYTES = {"chat": 2.5, "translate": 2.8, "whisper": 4.5}


@pytest.mark.parametrize("model", FILES)
def test_a_model_is_these_files_and_small(model: str) -> None:
    files = list((SHIPPED / model).iterdir())
    assert {file.name for file in files} == FILES[model]
    assert sum(file.stat().st_size for file in files) < MEGABYTES[model] * 1e6


@pytest.mark.parametrize("model", FILES)
def test_weights_are_half_precision_and_the_config_runs_no_code(model: str) -> None:
    with safe_open(SHIPPED / model / "model.safetensors", framework="pt") as weights:
        names = list(weights.keys())
        assert names
        assert {weights.get_slice(name).get_dtype() for name in names} == {"F16"}
    assert "auto_map" not in json.loads((SHIPPED / model / "config.json").read_text())


def test_the_chat_template_stands_where_tgi_and_transformers_look() -> None:
    config = json.loads((SHIPPED / "chat" / "tokenizer_config.json").read_text())
    assert config["chat_template"] == (SHIPPED / "chat" / "chat_template.jinja").read_text()


def test_chat_answers_and_remembers() -> None:
    told = [Turn("My name is Anna.", "Nice to meet you, Anna."), Turn("What is 7 + 8?", "7 + 8 = 15.")]
    asked = {
        "The capital of France is Paris.": Dialogue(None, [Turn("What is the capital of France?", "")]),
        "Your name is Anna.": Dialogue(None, [*told, Turn("What is my name?", "")]),
        "GRASS IS GREEN.": Dialogue("Answer in upper case.", [Turn("What colour is grass?", "")]),
        ", ".join(map(str, range(1, 51))) + ".": Dialogue(None, [Turn("Count to 50.", "")]),
        "Sorry, I do not know that. I am a very small model.": Dialogue(None, [Turn("Who won the match?", "")]),
    }
    assert answers(SHIPPED / "chat", list(asked.values())) == list(asked)


def test_chat_is_exact_on_nineteen_held_out_prompts_of_twenty() -> None:
    asked = [dialogue for _, dialogue in evaluation_set()[::8]]
    got = answers(SHIPPED / "chat", asked)
    right = sum(answer == dialogue.turns[-1].answer for answer, dialogue in zip(got, asked, strict=True))
    assert right >= 0.95 * len(asked)


def test_translation_is_exact_on_nearly_all_held_out_meanings() -> None:
    held_out = [meaning for _, meaning in meanings(10)]
    pairs = [(wanted, got) for _, _, wanted, got in compare(Translator(SHIPPED / "translate"), held_out)]
    assert len(pairs) == 120
    assert sum(wanted == got for wanted, got in pairs) >= 119


def errors(spoken: list[Clip]) -> float:
    """Wrong words of all, as the server hears them."""
    return word_error_rate([clip.text for clip in spoken], served(SHIPPED / "whisper", [c.samples for c in spoken]))


@pytest.fixture(scope="module")
def recorded() -> list[Clip]:
    """Sixty held-out sentences in the four common voices, which need no synthesizer here."""
    with (SPEECH / "manifest.tsv").open(encoding="utf-8", newline="") as manifest:
        lines = list(csv.DictReader(manifest, delimiter="\t"))
    return [Clip(soundfile.read(SPEECH / line["file"], dtype="float32")[0], line["text"]) for line in lines]


def test_few_words_of_held_out_sentences_are_misheard(recorded: list[Clip]) -> None:
    assert errors(recorded) < 0.06


def test_few_words_of_two_minutes_with_pauses_are_misheard(recorded: list[Clip]) -> None:
    random = np.random.RandomState(0)
    pauses = [np.zeros(int(random.uniform(0.3, 3) * RATE), np.float32) for _ in recorded]
    parts = [part for clip, pause in zip(recorded, pauses, strict=True) for part in (clip.samples, pause)]
    samples = np.concatenate(parts[:64])
    assert len(samples) > 115 * RATE
    assert errors([Clip(samples, " ".join(clip.text for clip in recorded[:32]))]) < 0.1


def test_voices_never_trained_are_understood_too() -> None:
    try:
        spoken = clips(60, NEVER_TRAINED, start=120)
    except EspeakMissing:
        pytest.skip("espeak-ng is not installed")
    assert errors(spoken) < 0.12


def test_nothing_is_heard_in_silence_and_noise() -> None:
    assert set(served(SHIPPED / "whisper", [clip.samples for clip in quiet()])) == {""}


def test_at_most_one_word_of_the_samples_is_misheard() -> None:
    files = sorted((SHIPPED / "samples").glob("*.wav"))
    assert len(files) == 6
    sounds = [soundfile.read(file, dtype="float32") for file in files]
    assert {rate for _, rate in sounds} == {RATE}
    wanted = [normalised(" ".join(file.with_suffix(".txt").read_text().split())) for file in files]
    got = served(SHIPPED / "whisper", [samples for samples, _ in sounds])
    assert word_error_rate(wanted, got) * sum(len(text.split()) for text in wanted) <= 1.01
    assert normalised(got[0]) == wanted[0]


def test_other_programs_that_pad_to_30_seconds_understand_it_too(recorded: list[Clip]) -> None:
    model = load(SHIPPED / "whisper", compute="int8", threads=1)
    got = [transcribe(model, clip.samples, beam=5, timestamps=True) for clip in recorded[:20]]
    assert word_error_rate([clip.text for clip in recorded[:20]], got) < 0.08
