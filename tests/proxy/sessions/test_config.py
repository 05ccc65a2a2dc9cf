"""A configuration's fields, defaults and limits; whatever is wrong is named by its path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.types import Json, JsonObject
from backends.whisper.options import Options
from proxy.errors import ApiError, ErrorCode
from proxy.sessions.config import LONGEST_PROMPT, ModelConfig, check_change, said_at, whole

DEFAULTS = ModelConfig.model_validate(
    {
        "asr": {"model_id": "w", "compute_config": {"device": "auto", "compute_type": "float32"}},
        "mt": {"model_id": "t", "compute_config": {"device": "auto", "compute_type": "int8", "batch_size": 32}},
    }
)


def at(path: str, value: Json) -> JsonObject:
    """A change that says this alone."""
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def refused(change: JsonObject) -> ApiError:
    with pytest.raises(ApiError) as caught:
        check_change(change)
        whole(DEFAULTS, change)
    assert caught.value.code == ErrorCode.INVALID
    assert f"`{caught.value.param}`" in caught.value.message
    return caught.value


def test_the_documented_defaults() -> None:
    assert DEFAULTS.as_json() == {
        "asr": {
            "model_id": "w",
            "task": "transcribe",
            "parameters": {
                "beam_size": 5,
                "best_of": 5,
                "temperature": 0.0,
                "compression_ratio_threshold": 2.4,
                "logprob_threshold": -1.0,
                "no_speech_threshold": 0.6,
                "condition_on_previous_text": False,
            },
            "compute_config": {"device": "auto", "compute_type": "float32"},
        },
        "mt": {
            "model_id": "t",
            "target_language": "",
            "parameters": {
                "beam_size": 5,
                "length_penalty": 1.0,
                "no_repeat_ngram_size": 0,
                "max_input_length": 1_000_000,
                "max_new_tokens": 512,
                "early_stopping": True,
            },
            "compute_config": {"device": "auto", "compute_type": "int8", "batch_size": 32},
        },
    }


def test_speech_is_decoded_by_default_as_without_a_session() -> None:
    parameters, options = DEFAULTS.asr.parameters, Options()
    for name in (
        "beam_size", "best_of", "compression_ratio_threshold", "logprob_threshold", "no_speech_threshold",
        "condition_on_previous_text",
    ):  # fmt: skip
        assert getattr(parameters, name) == getattr(options, name)
    assert parameters.temperature == options.temperatures[0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("asr.model_id", "x" * 200),
        ("asr.language", "de"),
        ("asr.task", "translate"),
        ("asr.parameters.beam_size", 32),
        ("asr.parameters.best_of", 1),
        ("asr.parameters.temperature", 1),
        ("asr.parameters.compression_ratio_threshold", 0),
        ("asr.parameters.logprob_threshold", -5.5),
        ("asr.parameters.no_speech_threshold", 1.0),
        ("asr.parameters.condition_on_previous_text", True),
        ("asr.parameters.initial_prompt", "x" * LONGEST_PROMPT),
        ("asr.compute_config.device", "cuda"),
        ("asr.compute_config.compute_type", "int8"),
        ("asr.compute_config.cpu_threads", 2),
        ("asr.compute_config.gpu_memory_fraction", 0.5),
        ("mt.model_id", "x"),
        ("mt.source_language", "en"),
        ("mt.target_language", "zho_Hans"),
        ("mt.parameters.beam_size", 1),
        ("mt.parameters.length_penalty", -10),
        ("mt.parameters.no_repeat_ngram_size", 0),
        ("mt.parameters.max_input_length", 1),
        ("mt.parameters.max_new_tokens", 1_000_000),
        ("mt.parameters.early_stopping", False),
        ("mt.compute_config.device", "cpu"),
        ("mt.compute_config.compute_type", "float16"),
        ("mt.compute_config.batch_size", 1),
    ],
)
def test_every_field_of_the_contract_is_taken_and_shown(path: str, value: Json) -> None:
    change = at(path, value)
    check_change(change)
    assert said_at(whole(DEFAULTS, change).as_json(), path) == value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("asr", 5),
        ("asr", []),
        ("mt", "text"),
        ("asr.model_id", 7),
        ("asr.model_id", "x" * 201),
        ("asr.language", ""),
        ("asr.language", ["de"]),
        ("asr.task", "summarize"),
        ("asr.parameters", [1]),
        ("asr.parameters.beam_size", 0),
        ("asr.parameters.beam_size", 33),
        ("asr.parameters.beam_size", "5"),
        ("asr.parameters.beam_size", 2.5),
        ("asr.parameters.beam_size", True),
        ("asr.parameters.beam_size", 10**23),
        ("asr.parameters.best_of", -1),
        ("asr.parameters.temperature", 1.1),
        ("asr.parameters.temperature", float("nan")),
        ("asr.parameters.compression_ratio_threshold", -1),
        ("asr.parameters.compression_ratio_threshold", float("inf")),
        ("asr.parameters.logprob_threshold", "-1"),
        ("asr.parameters.no_speech_threshold", 2),
        ("asr.parameters.condition_on_previous_text", 1),
        ("asr.parameters.initial_prompt", "x" * (LONGEST_PROMPT + 1)),
        ("asr.parameters.patience", 1),
        ("asr.compute_config.device", "tpu"),
        ("asr.compute_config.compute_type", "int4"),
        ("asr.compute_config.cpu_threads", 0),
        ("asr.compute_config.gpu_memory_fraction", 1.5),
        ("asr.compute_config.batch_size", 4),
        ("mt.language", "en"),
        ("mt.source_language", 1),
        ("mt.target_language", {"code": "fr"}),
        ("mt.parameters.length_penalty", 11),
        ("mt.parameters.no_repeat_ngram_size", -1),
        ("mt.parameters.max_input_length", 0),
        ("mt.parameters.max_new_tokens", 0),
        ("mt.parameters.early_stopping", "yes"),
        ("mt.compute_config.batch_size", 0),
        ("mt.compute_config.cpu_threads", 2),
        ("tts", {}),
    ],
)
def test_whatever_is_wrong_is_named_by_its_path(path: str, value: Json) -> None:
    assert refused(at(path, value)).param == path


def test_null_takes_back_what_was_said() -> None:
    said: JsonObject = {"asr": {"language": "de", "parameters": {"beam_size": 2, "initial_prompt": "Hi"}}}
    assert whole(DEFAULTS, {**said, "asr": {"language": None, "parameters": None}}) == DEFAULTS
    assert "language" not in DEFAULTS.as_json()["asr"]  # type: ignore[operator]
    assert refused({"asr": {"hue": None}}).param == "asr.hue"


def test_what_is_nested_deeply_is_refused_before_it_is_walked() -> None:
    deep: Json = 1
    for _ in range(1000):
        deep = {"a": deep}
    assert refused({"asr": {"model_id": deep}}).param == "asr.model_id"
    assert refused({"asr": {"parameters": {"beam_size": deep}}}).param == "asr.parameters.beam_size"
    assert refused({"deep": deep}).param == "deep"


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["asr", "mt", "parameters", "compute_config", "model_id", "beam_size", "device", "x"])


@given(
    st.dictionaries(
        names, st.dictionaries(names, st.dictionaries(names, json, max_size=3) | json, max_size=3) | json, max_size=3
    )
)
def test_any_object_is_a_configuration_or_refused(change: JsonObject) -> None:
    try:
        check_change(change)
        config = whole(DEFAULTS, change)
    except ApiError as error:
        assert error.code == ErrorCode.INVALID
        assert error.param
    else:
        assert ModelConfig.model_validate(config.as_json()) == config
