"""Every task on a real tiny model, held to what transformers' own pipeline returns for the same."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import transformers
from PIL import Image
from transformers.pipelines import get_supported_tasks

from backends.pipelines.results import to_json
from backends.pipelines.tasks import ALIASES, TASKS
from backends.types import Infer, Json
from tests.backends.pipelines import files, tiny, tiny_senses
from tests.backends.pipelines.conftest import Directory, Run
from tests.backends.pipelines.files import b64
from tests.backends.pipelines.tiny import NANO, TEXT, Make

PNG = files.png(64, 64)
IMAGE = Image.open(io.BytesIO(PNG))
SOUND = (np.sin(np.arange(8000) * 2 * np.pi * 440 / 16_000) * 8000).astype("<i2").astype(np.float32) / 32768
BERT = tiny.bert("ForSequenceClassification")
MASKED = tiny.bert("ForMaskedLM")
TAGGER = tiny.bert("ForTokenClassification")
ENCODER = tiny.bert("Model")
CTC = tiny_senses.wav2vec2("CTC")
HEARS = tiny_senses.wav2vec2("SequenceClassification")
HELLO: Json = [{"role": "user", "content": "Hello"}]
LABELS: dict[str, Json] = {"candidate_labels": ["box", "hotel"]}
SEEN: Json = [{"role": "user", "content": [{"type": "image", "base64": b64(PNG)}, {"type": "text", "text": "who"}]}]


@dataclass(frozen=True)
class Case:
    """inputs: as sent; direct: as given to transformers, if that is something else."""

    task: str
    make: Make
    inputs: Json
    params: Mapping[str, Json] = field(default_factory=dict)
    direct: object = None
    files: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)


CASES = [
    Case("fill-mask", MASKED, "emma [MASK] the box", {"top_k": 3}),
    Case("fill-mask", MASKED, ["emma [MASK] the box"]),
    Case("fill-mask", MASKED, ["emma [MASK]", "the [MASK] [MASK]"], {"targets": ["box", "hotel"]}),
    Case("text-classification", BERT, "emma"),
    Case("sentiment-analysis", BERT, ["emma", "the box"], {"top_k": None, "batch_size": 2}),
    Case("text-classification", BERT, {"text": "emma", "text_pair": "the box"}, {"function_to_apply": "sigmoid"}),
    Case("text-classification", BERT, TEXT * 20, {"truncation": True, "max_length": 32}),
    Case("text-classification", tiny.distilbert, "I love this product!"),
    Case("token-classification", TAGGER, "emma bought the box"),
    Case("ner", TAGGER, ["emma", "box"], {"aggregation_strategy": "simple", "ignore_labels": ["no"]}),
    Case("feature-extraction", ENCODER, "emma"),
    Case("feature-extraction", MASKED, ["emma", "the box"], {"return_tensors": True}),
    Case("zero-shot-classification", BERT, "emma", LABELS),
    Case("zero-shot-classification", BERT, ["emma", "box"], {"candidate_labels": "a, b", "multi_label": True}),
    Case("text-generation", tiny.gpt2, "emma bought", {"max_new_tokens": 5, "do_sample": False}),
    Case(
        "text-generation",
        tiny.gpt2,
        ["emma", "the"],
        {"max_new_tokens": 3, "num_beams": 2, "num_return_sequences": 2, "do_sample": False},
    ),
    Case(
        "text-generation",
        tiny.gpt2,
        "emma",
        {"max_new_tokens": 4, "return_full_text": False, "stop_sequence": "box", "do_sample": False},
    ),
    Case("automatic-speech-recognition", CTC, b64(files.sound()), direct=SOUND),
    Case(
        "automatic-speech-recognition",
        CTC,
        {"array": SOUND.tolist(), "sampling_rate": 16_000},
        {"return_timestamps": "char"},
        direct=SOUND,
    ),
    Case("audio-classification", HEARS, b64(files.sound()), {"top_k": 2}, direct=SOUND),
    Case("audio-classification", HEARS, None, direct=[SOUND, SOUND], files={"file": (files.sound(), files.sound())}),
    Case("text-to-speech", tiny_senses.vits, "emma"),
    Case("image-classification", tiny_senses.vit, b64(PNG), {"top_k": 2}, direct=IMAGE),
    Case("image-classification", tiny_senses.vit, [f"data:image/png;base64,{b64(PNG)}"], direct=[IMAGE]),
    Case("image-classification", tiny_senses.vit, None, direct=IMAGE, files={"inputs": (PNG,)}),
    Case("image-feature-extraction", tiny_senses.vit, b64(PNG), direct=IMAGE),
    Case("image-segmentation", tiny_senses.segformer, b64(PNG), direct=IMAGE),
    Case("object-detection", tiny_senses.yolos, b64(PNG), {"threshold": 0.0}, direct=IMAGE),
    Case("depth-estimation", tiny_senses.glpn, b64(PNG), direct=IMAGE),
    Case("keypoint-matching", tiny_senses.superglue, [b64(PNG), b64(PNG)], {"threshold": 0.0}, direct=[IMAGE, IMAGE]),
    Case("zero-shot-image-classification", tiny_senses.clip, b64(PNG), LABELS, direct=IMAGE),
    Case(
        "zero-shot-object-detection",
        tiny_senses.owlvit,
        {"image": b64(PNG), "candidate_labels": ["box", "hotel"]},
        {"threshold": 0.0, "top_k": 3},
        direct={"image": IMAGE, "candidate_labels": ["box", "hotel"]},
    ),
    Case(
        "document-question-answering",
        tiny.layoutlm,
        {"question": "who ?", "word_boxes": [["emma", [0, 0, 10, 10]], ["bought", [10, 0, 20, 10]]]},
        direct={
            "image": IMAGE,
            "question": "who ?",
            "word_boxes": [("emma", [0, 0, 10, 10]), ("bought", [10, 0, 20, 10])],
        },
        files={"image": (PNG,)},
    ),
    Case(
        "image-text-to-text",
        tiny_senses.llava,
        {"images": b64(PNG), "text": "<image> who"},
        {"max_new_tokens": 4},
        direct={"images": IMAGE, "text": "<image> who"},
    ),
    Case(
        "image-text-to-text",
        tiny_senses.llava,
        SEEN,
        {"generate_kwargs": {"max_new_tokens": 4}, "return_full_text": False},
    ),
]
# Their results differ from one run to the next, or cannot be had from transformers here.
BY_CHANCE = {"text-to-audio"}
ELSEWHERE = {"conversational", "question-answering", "summarization", "text2text-generation", "translation"}
ALSO = {"decision", "table-question-answering", "video-classification", "zero-shot-audio-classification"}
# They need torchvision, which exists for CUDA alone.
UNTESTED = {"any-to-any", "mask-generation"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.task)
def test_results_are_those_of_transformers(case: Case, run: Run, directory: Directory) -> None:
    result = run(case.make, Infer(task=case.task, inputs=case.inputs, params=case.params, files=case.files))
    direct = case.inputs if case.direct is None else case.direct
    if direct is SEEN:
        direct = [{"role": "user", "content": [{"type": "image", "image": IMAGE}, {"type": "text", "text": "who"}]}]
    pipeline = transformers.pipeline(case.task, model=str(directory(case.make)), device="cpu")
    expected = json.loads(to_json(pipeline(direct, **case.params)))
    if ALIASES.get(case.task) in BY_CHANCE:
        assert isinstance(result, dict)
        assert (result.keys(), result["sampling_rate"]) == (expected.keys(), expected["sampling_rate"])
    else:
        assert same(result, expected)


def same(one: Json, other: Json) -> bool:
    """Equal, but for what the order of additions changes in floats."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
        case list(), list():
            return len(one) == len(other) and all(map(same, one, other))
        case float(), float():
            return one == pytest.approx(other, abs=1e-4)
        case _:
            return one == other


def test_every_task_of_transformers_is_served_and_tested() -> None:
    supported = {ALIASES.get(task, task) for task in get_supported_tasks()}
    assert supported <= TASKS.keys()
    tested = {ALIASES.get(case.task, case.task) for case in CASES} | ELSEWHERE | ALSO
    assert tested | UNTESTED == TASKS.keys()


# --------------------------------------------------------------------------- tasks without a counterpart here


def test_a_chat_is_answered_by_the_shipped_model(run: Run) -> None:
    params: dict[str, Json] = {"max_new_tokens": 10}
    answered = run(NANO / "chat", Infer(task="text-generation", inputs=HELLO, params=params))
    assert answered == [
        {
            "generated_text": [
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hello! How can I help you?"},
            ]
        }
    ]


def test_decisions(run: Run) -> None:
    question: Json = {"type": "choice", "instructions": "What?", "criteria": {"a": "x", "b": "y"}}
    answers = run(NANO / "chat", Infer(task="decision", inputs={"state": "charged", "questions": {"q": question}}))
    assert isinstance(answers, dict)
    assert isinstance(answers["q"], dict)
    assert answers["q"]["choice"] in ("a", "b")


def test_a_video_is_looked_at_frame_by_frame(run: Run) -> None:
    result = run(tiny_senses.videomae, Infer(task="video-classification", inputs=b64(files.mp4()), params={"top_k": 1}))
    assert isinstance(result, list)
    assert len(result) == 1
    later = run(
        tiny_senses.videomae,
        Infer(task="video-classification", inputs=b64(files.mp4()), params={"frame_sampling_rate": 3}),
    )
    assert later != result


def test_sounds_are_heard_at_the_models_own_rate(run: Run) -> None:
    request = Infer(task="zero-shot-audio-classification", inputs=b64(files.sound()), params=LABELS)
    result = run(tiny_senses.clap, request)
    assert isinstance(result, list)
    assert {item["label"] for item in result if isinstance(item, dict)} == {"box", "hotel"}


def test_a_whisper_as_a_pipeline(run: Run) -> None:
    speech = b64((NANO / "samples" / "1_en-us.wav").read_bytes())
    request = Infer(task="automatic-speech-recognition", inputs=speech, params={"return_timestamps": "word"})
    result = run(NANO / "whisper", request)
    assert isinstance(result, dict)
    assert result["text"] == " Maria bought the yellow box at the hotel."


def test_tables(run: Run) -> None:
    pytest.importorskip("pandas", reason="of the CUDA set")
    table: Json = {"actors": ["brad pitt", "/etc/passwd"], "age": ["56", "61"]}
    answer = run(tiny.tapas, Infer(task="table-question-answering", inputs={"table": table, "query": "how old"}))
    assert isinstance(answer, dict)
    assert answer.keys() == {"answer", "coordinates", "cells"}
    both: Json = [{"table": table, "query": "how old"}, {"table": table, "query": ["who", "how old"]}]
    answers = run(tiny.tapas, Infer(task="table-question-answering", inputs=both))
    assert isinstance(answers, list)
    assert answers[0] == answer
