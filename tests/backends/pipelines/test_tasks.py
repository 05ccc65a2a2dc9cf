"""Names of tasks, and their params."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import pytest
from pydantic.fields import FieldInfo
from transformers import GenerationConfig

from backends.errors import Invalid, Unsupported
from backends.pipelines import params, tasks
from backends.pipelines.loading import _kind
from backends.pipelines.tasks import KEPT, TASKS, check, find
from backends.types import Infer, Json

LABELS: dict[str, Json] = {"candidate_labels": ["a"]}


def given(task: str, sent: Mapping[str, Json]) -> Mapping[str, object]:
    return check(Infer(task=task, inputs="a", params=sent)).params


def test_aliases_and_pairs_of_languages() -> None:
    assert find("ner").name == "token-classification"
    assert find("sentiment-analysis").name == "text-classification"
    assert find("translation_en_to_fr").name == "translation"
    assert given("translation_en_to_zh_Hant", {}) == {"src_lang": "en", "tgt_lang": "zh_Hant"}
    assert given("translation_en_to_fr", {"tgt_lang": "de"}) == {"tgt_lang": "de"}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sumarization", "Did you mean `summarization`"),
        ("translation_en_fr", "Did you mean"),
        ("translation_", "translation_xx_to_yy"),
        ("vqa", "`image-text-to-text`"),
        ("", "Served are: any-to-any, audio-classification"),
        ("x" * 100_000, "Served are"),
    ],
)
def test_unknown_tasks_are_refused_with_what_there_is(name: str, hint: str) -> None:
    with pytest.raises(Unsupported, match="task") as refused:
        find(name)
    assert (hint in refused.value.message, refused.value.param, len(refused.value.message) < 1200) == (
        True,
        "task",
        True,
    )


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "find_spec", lambda name: None)
    with pytest.raises(Unsupported, match=r"`image-classification` needs pillow.*pip install pillow"):
        check(Infer(task="image-classification", inputs="YQ=="))


@pytest.mark.parametrize("name", sorted(KEPT))
def test_what_the_server_chooses_is_refused_by_name(name: str) -> None:
    for task in TASKS.values():
        if name not in task.params.model_fields and not tasks.missing(task):
            with pytest.raises(Unsupported, match=f"`params.{name}` is for whoever runs the server"):
                check(Infer(task=task.name, inputs="a", params={name: "x"}))


@pytest.mark.parametrize(
    ("task", "sent", "named"),
    [
        ("fill-mask", {"topk": 1}, "params.topk"),
        ("fill-mask", {"top_k": 0}, "params.top_k"),
        ("fill-mask", {"top_k": "1"}, "params.top_k"),
        ("fill-mask", {"top_k": True}, "params.top_k"),
        ("fill-mask", {"top_k": 10**9}, "params.top_k"),
        ("fill-mask", {"tokenizer_kwargs": {"trust_remote_code": True}}, "params.tokenizer_kwargs.trust_remote_code"),
        ("text-generation", {"max_new_tokens": 10**9}, "params.max_new_tokens"),
        ("text-generation", {"temperature": 0}, "params.temperature"),
        ("text-generation", {"temperature": float("nan")}, "params.temperature"),
        ("text-generation", {"min_length": 5, "max_length": 4}, "params"),
        ("text-generation", {"num_return_sequences": 2}, "params"),
        ("text-generation", {"bad_words_ids": [[-1]]}, "params.bad_words_ids.0.0"),
        ("text-generation", {"custom_generate": "org/code"}, "params.custom_generate"),
        ("text-generation", {"tokenizer_encode_kwargs": {}}, "params.tokenizer_encode_kwargs"),
        ("text-generation", {"cache_implementation": "offloaded"}, "params.cache_implementation"),
        ("summarization", {"generate_kwargs": {"custom_generate": "x"}}, "params.generate_kwargs.custom_generate"),
        ("zero-shot-classification", {}, "params.candidate_labels"),
        ("zero-shot-classification", {"candidate_labels": []}, "params.candidate_labels"),
        ("zero-shot-classification", {**LABELS, "hypothesis_template": "{0.__class__}"}, "params.hypothesis_template"),
        ("zero-shot-classification", {**LABELS, "hypothesis_template": "{:>999999999}"}, "params.hypothesis_template"),
        ("zero-shot-classification", {**LABELS, "hypothesis_template": "{} {}"}, "params.hypothesis_template"),
        ("zero-shot-classification", {**LABELS, "hypothesis_template": "none"}, "params.hypothesis_template"),
    ],
)
def test_wrong_params_are_refused_by_name(task: str, sent: Mapping[str, Json], named: str) -> None:
    with pytest.raises(Invalid) as refused:
        given(task, sent)
    assert refused.value.param is not None
    assert refused.value.param.startswith(named)
    assert f"`{named}" in refused.value.message


def test_params_are_passed_on_as_they_were_said() -> None:
    sent: dict[str, Json] = {"top_k": 2, "tokenizer_kwargs": {"truncation": True}}
    assert given("fill-mask", sent) == sent
    assert given("text-classification", {"top_k": None}) == {"top_k": None}
    assert given("text-classification", {}) == {}


@pytest.mark.parametrize("task", ["text-generation", "summarization"])
def test_a_length_of_the_whole_is_not_overruled_by_a_pipelines_default(task: str) -> None:
    assert given(task, {"max_length": 9}) == {"max_length": 9, "max_new_tokens": None}
    assert given(task, {"max_length": 9, "max_new_tokens": 3}) == {"max_length": 9, "max_new_tokens": 3}


GENERATING = (params.Generation, params.Whispering)
# Whisper's own arguments of generate(), and one that the pipeline of transformers 4 had.
OWN_WORDS = {
    "language", "task", "condition_on_prev_tokens", "compression_ratio_threshold", "logprob_threshold", "no_speech_threshold",
}  # fmt: skip


@pytest.mark.parametrize(
    "task", [task for task in TASKS.values() if not tasks.missing(task)], ids=lambda task: task.name
)
def test_every_param_is_one_that_the_pipeline_takes(task: tasks.Task) -> None:
    kind, _ = _kind(task.name)
    taken = {"batch_size"}
    for method in (kind.__call__, kind._sanitize_parameters, kind.preprocess, kind.postprocess):
        taken |= inspect.signature(method).parameters.keys()
    source = "".join(inspect.getsource(each) for each in kind.__mro__ if "pipelines" in each.__module__)
    generates = issubclass(task.params, params.Generation)
    generation = GenerationConfig().to_dict().keys() | OWN_WORDS
    for name in task.params.model_fields:
        quoted = f'"{name}"' in source
        assert name in taken or quoted or (generates and name in generation) or _tokenizing(task, name), name


def _tokenizing(task: tasks.Task, name: str) -> bool:
    return issubclass(task.params, params.Tokenizing) and name in params.Tokenizing.model_fields


def test_generation_has_no_param_that_transformers_lacks() -> None:
    known = GenerationConfig().to_dict().keys()
    fields: Mapping[str, FieldInfo] = params.Generation.model_fields
    assert set(fields) <= set(known)
