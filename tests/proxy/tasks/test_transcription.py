"""Speech recognition by transformers' parameters, on the engine made for it."""

from __future__ import annotations

import pytest

from backends.errors import Invalid
from backends.inprocess.audio import decode
from backends.pipelines.tasks import check
from backends.types import Infer, Json, Transcribe
from proxy.errors import ApiError
from proxy.tasks.transcription import transcriptions

TASK = "automatic-speech-recognition"
BASE = Transcribe(audio=b"", language="de", beam_size=2)


def read(inputs: Json = "YQ==", **params: Json) -> tuple[list[Transcribe], str]:
    return transcriptions(check(Infer(task=TASK, inputs=inputs, params=params)), BASE)


def test_what_is_not_said_holds_as_it_did() -> None:
    assert read() == ([Transcribe(audio=b"a", language="de", beam_size=2)], "none")
    assert read(["YQ==", "data:audio/wav;base64,Yg=="])[0][1].audio == b"b"


def test_every_option_has_its_place() -> None:
    generate: Json = {"language": "en", "temperature": [0.0, 0.5], "num_beams": 5, "no_speech_threshold": 0.5}
    requests, chunks = read(
        return_timestamps=True,
        task="translate",
        condition_on_prev_tokens=True,
        logprob_threshold=-1,
        generate_kwargs=generate,
    )
    assert chunks == "segments"
    assert requests == [
        Transcribe(
            audio=b"a", language="en", beam_size=5, temperatures=(0.0, 0.5), no_speech_threshold=0.5, task="translate",
            condition_on_previous_text=True, logprob_threshold=-1,
        )
    ]  # fmt: skip
    assert read(temperature=0.25)[0][0].temperatures == (0.25,)
    assert (read(return_timestamps="word")[1], read(return_timestamps="word")[0][0].words) == ("words", True)


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"chunk_length_s": 30}, "`params.chunk_length_s` is not supported by the engine"),
        ({"generate_kwargs": {"max_new_tokens": 3}}, "`params.generate_kwargs.max_new_tokens`"),
        ({"return_timestamps": "char"}, "`params.return_timestamps`"),
        ({"batch_size": 4}, "`params.batch_size`"),
    ],
)
def test_what_the_engine_does_not_have_is_refused_by_name(params: dict[str, Json], named: str) -> None:
    with pytest.raises(ApiError, match=named):
        read(**params)


def test_numbers_become_a_file_of_the_same_sound() -> None:
    samples: list[Json] = [0.0, 0.5, -0.5, 1.0] * 4000
    (request,), _ = read({"array": samples, "sampling_rate": 16_000})
    assert decode(request.audio, max_seconds=5).tolist() == samples


@pytest.mark.parametrize(
    "wrong",
    [
        {"array": ["a"], "sampling_rate": 16000},
        {"array": [1e39], "sampling_rate": 16000},
        {"array": [0], "sampling_rate": 0},
    ],
)
def test_numbers_that_are_no_sound_are_refused(wrong: Json) -> None:
    with pytest.raises(ApiError, match="`inputs`"):
        read(wrong)


def test_what_is_no_file_is_refused() -> None:
    with pytest.raises(Invalid, match="Addresses and paths are not opened"):
        read("/etc/passwd")
