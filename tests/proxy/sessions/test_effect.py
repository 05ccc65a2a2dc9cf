"""What a session says becomes what a request says where it is silent."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.types import JsonObject, Transcribe, Translate
from backends.whisper.options import Options
from proxy.errors import ApiError, ErrorCode
from proxy.sessions.config import Asr, AsrCompute, AsrParameters, Mt, MtCompute, MtParameters
from proxy.sessions.effect import relayed_fields, temperatures, transcribe_defaults, translate_defaults

SPEECH = AsrCompute(device="auto", compute_type="float32")
TEXT = MtCompute(device="auto", compute_type="int8", batch_size=7)


def test_every_parameter_of_speech() -> None:
    parameters = AsrParameters(
        beam_size=2,
        best_of=3,
        temperature=0.5,
        compression_ratio_threshold=1.5,
        logprob_threshold=-0.5,
        no_speech_threshold=0.25,
        condition_on_previous_text=True,
        initial_prompt="Emma",
    )
    asr = Asr(model_id="w", language="de", task="translate", parameters=parameters, compute_config=SPEECH)
    assert transcribe_defaults(asr) == Transcribe(
        audio=b"",
        task="translate",
        language="de",
        prompt="Emma",
        temperatures=(0.5, 0.7, 0.9),
        beam_size=2,
        best_of=3,
        compression_ratio_threshold=1.5,
        logprob_threshold=-0.5,
        no_speech_threshold=0.25,
        condition_on_previous_text=True,
    )


def test_every_parameter_of_translation() -> None:
    parameters = MtParameters(
        beam_size=2,
        length_penalty=0.5,
        no_repeat_ngram_size=3,
        max_input_length=100,
        max_new_tokens=50,
        early_stopping=False,
    )
    mt = Mt(model_id="t", source_language="en", target_language="fr", parameters=parameters, compute_config=TEXT)
    assert translate_defaults(mt) == Translate(
        texts=(),
        source="en",
        target="fr",
        beam_size=2,
        length_penalty=0.5,
        no_repeat_ngram_size=3,
        max_input_length=100,
        max_new_tokens=50,
        early_stopping=False,
        batch_size=7,
    )
    assert translate_defaults(Mt(model_id="t", compute_config=TEXT)).target is None


def test_temperatures_are_whispers_own_from_the_first_on() -> None:
    assert temperatures(0.0) == Options().temperatures
    assert temperatures(1.0) == (1.0,)


@given(st.floats(0, 1))
def test_temperatures_rise_to_one_at_most(first: float) -> None:
    tried = temperatures(first)
    assert tried[0] == pytest.approx(first, abs=1e-6)
    assert all(0 <= temperature <= 1 for temperature in tried)
    assert all(later - earlier == pytest.approx(0.2, abs=1e-5) for earlier, later in pairwise(tried))
    assert tried[-1] > 0.8 - 1e-5


def test_what_an_engine_elsewhere_can_be_told() -> None:
    said: JsonObject = {
        "asr": {
            "model_id": "w",
            "language": "de",
            "task": "translate",
            "parameters": {"temperature": 0.5, "initial_prompt": "Emma"},
        },
        "mt": {"parameters": {"beam_size": 3}},
    }
    assert relayed_fields(said) == {"language": "de", "prompt": "Emma", "temperature": "0.5"}
    assert relayed_fields({}) == {}


@pytest.mark.parametrize(
    "path",
    [
        *(f"parameters.{name}" for name in AsrParameters.model_fields if name not in ("temperature", "initial_prompt")),
        *(f"compute_config.{name}" for name in AsrCompute.model_fields),
    ],
)
def test_what_it_cannot_be_told_is_refused_by_name(path: str) -> None:
    group, name = path.split(".")
    with pytest.raises(ApiError) as caught:
        relayed_fields({"asr": {group: {name: 1}}})
    assert (caught.value.code, caught.value.param) == (ErrorCode.UNSUPPORTED, f"asr.{path}")
