"""The shipped models are whole, small, safe, and answer what their README says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from safetensors import safe_open

from backends.nano.train.chat.dialogues import Dialogue, evaluation_set
from backends.nano.train.chat.evaluate import answers
from backends.nano.train.chat.families import Turn
from backends.nano.train.common import SHIPPED
from backends.nano.train.translate.evaluate import Translator, compare
from backends.nano.train.translate.sentences import evaluation_set as meanings
from backends.nano.train.whisper.evaluate import load, normalised, transcribe

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


def test_speech_of_the_five_short_samples_is_transcribed_word_for_word() -> None:
    model = load(SHIPPED / "whisper", compute="int8", threads=1)
    clips = sorted((SHIPPED / "samples").glob("[1-5]_*.wav"))
    assert len(clips) == 5
    for clip in clips:
        samples, rate = soundfile.read(clip, dtype="float32")
        assert rate == 16000
        wanted = Path(clip).with_suffix(".txt").read_text()
        assert normalised(transcribe(model, samples, beam=5, timestamps=True)) == normalised(wanted)
