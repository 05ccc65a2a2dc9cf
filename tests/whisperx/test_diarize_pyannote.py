"""Speakers told apart by a real pyannote pipeline of random weights, from a directory, off the network."""

from __future__ import annotations

import io
import os
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backends.base import EngineSpec
from backends.errors import Invalid, MediaRefused, Unavailable
from backends.inprocess.audio import SAMPLE_RATE, Samples
from backends.types import Diarize
from backends.whisper.diarize import Diarizer
from tests.whisperx.conftest import cached

pytest.importorskip("whisperx", reason="needs requirements/cuda.lock (make test-whisperx)")

pytestmark = pytest.mark.filterwarnings(r"ignore:\s*torchcodec is not installed correctly")

Sound = Callable[[float], Samples]


@pytest.fixture
def diarizer(spec: EngineSpec, speakers: Path) -> Diarizer:
    return Diarizer(replace(spec, diarization_model=str(speakers)))


@pytest.fixture(scope="module")
def talk(buzz: Sound, hiss: Sound) -> Samples:
    """Two voices: the first until 4 s, the second until 8 s, the first again until 11 s."""
    return np.concatenate([buzz(4), hiss(4), buzz(3)])


def wav(samples: Samples) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        writer.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def test_two_speakers_take_turns(diarizer: Diarizer, talk: Samples) -> None:
    turns = diarizer.speakers(talk, Diarize(num_speakers=2))
    assert [turn.speaker for turn in turns] == ["A", "B", "A"]
    assert [turns[0].end, turns[1].end] == pytest.approx([4.0, 8.0], abs=0.8)


@pytest.mark.parametrize(
    ("options", "count"),
    [(Diarize(), 1), (Diarize(num_speakers=1), 1), (Diarize(max_speakers=1), 1), (Diarize(min_speakers=3), 3)],
)
def test_the_number_of_speakers_is_as_asked(diarizer: Diarizer, talk: Samples, options: Diarize, count: int) -> None:
    assert len({turn.speaker for turn in diarizer.speakers(talk, options)}) == count


def test_known_voices_have_their_names(diarizer: Diarizer, talk: Samples, buzz: Sound, hiss: Sound) -> None:
    known = (("Hissing Sid", wav(hiss(3))), ("Buzz", wav(buzz(2.5))))
    turns = diarizer.speakers(talk, Diarize(num_speakers=2, known=known))
    assert [turn.speaker for turn in turns] == ["Buzz", "Hissing Sid", "Buzz"]


def test_more_speakers_than_there_is_audio_for_are_refused(diarizer: Diarizer, buzz: Sound) -> None:
    with pytest.raises(Invalid, match="num_speakers") as refusal:
        diarizer.speakers(buzz(3), Diarize(num_speakers=50))
    assert refusal.value.param == "num_speakers"


def test_audio_shorter_than_a_window_has_its_speaker(diarizer: Diarizer, buzz: Sound) -> None:
    assert {turn.speaker for turn in diarizer.speakers(buzz(0.3), Diarize())} == {"A"}


def test_where_nobody_speaks_there_are_no_turns(spec: EngineSpec, nobody: Path, talk: Samples) -> None:
    assert Diarizer(replace(spec, diarization_model=str(nobody))).speakers(talk, Diarize()) == []


def test_a_sample_without_a_voice_is_refused(spec: EngineSpec, nobody: Path, talk: Samples, buzz: Sound) -> None:
    diarizer = Diarizer(replace(spec, diarization_model=str(nobody)))
    with pytest.raises(Invalid, match="Nobody speaks in the sample of 'Ann'") as refusal:
        diarizer.speakers(talk, Diarize(known=(("Ann", wav(buzz(3))),)))
    assert refusal.value.param == "known_speaker_references"


@pytest.mark.parametrize(
    ("seconds", "complaint"), [(1.0, "1.0 s long; 2 to 10 s are needed"), (12.0, "longer than the 10.5 s")]
)
def test_a_sample_of_the_wrong_length_is_refused(
    diarizer: Diarizer, talk: Samples, buzz: Sound, seconds: float, complaint: str
) -> None:
    with pytest.raises(Invalid, match=f"sample of 'Ann'.*{complaint}") as refusal:
        diarizer.speakers(talk, Diarize(known=(("Ann", wav(buzz(seconds))),)))
    assert refusal.value.param == "known_speaker_references"


def test_a_sample_that_is_no_audio_is_refused(diarizer: Diarizer, talk: Samples) -> None:
    with pytest.raises(MediaRefused, match="sample of 'Ann'") as refusal:
        diarizer.speakers(talk, Diarize(known=(("Ann", b"#EXTM3U"),)))
    assert refusal.value.param == "known_speaker_references"


def test_whoever_leaves_stops_the_work(diarizer: Diarizer, talk: Samples) -> None:
    asked = []

    def stopped() -> bool:
        asked.append(True)
        return len(asked) > 1

    assert diarizer.speakers(talk, Diarize(), stopped) == []
    assert len(asked) == 2


def test_a_hub_id_is_read_from_the_cache(
    diarizer: Diarizer, spec: EngineSpec, speakers: Path, talk: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(speakers, tmp_path, "owner/speakers")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    by_id = Diarizer(replace(spec, diarization_model="owner/speakers"))
    assert by_id.speakers(talk, Diarize(num_speakers=2)) == diarizer.speakers(talk, Diarize(num_speakers=2))


def test_telemetry_is_off_whatever_the_environment_says(
    diarizer: Diarizer, buzz: Sound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYANNOTE_METRICS_ENABLED", "true")
    diarizer.speakers(buzz(3), Diarize())
    from pyannote.audio.telemetry.metrics import is_metrics_enabled  # noqa: PLC0415 - needs the cuda set

    assert not is_metrics_enabled()


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("/nowhere", "without a config.yaml"),
        ("a b", "neither a hub id"),
        ("owner/speakers", "HF_TOKEN"),
    ],
)
def test_a_pipeline_that_cannot_be_had_names_the_setting(
    spec: EngineSpec, talk: Samples, source: str, complaint: str
) -> None:
    with pytest.raises(Unavailable, match=f"DIARIZATION_MODEL.*{complaint}"):
        Diarizer(replace(spec, diarization_model=source)).speakers(talk, Diarize())


@pytest.mark.parametrize(("variable", "token"), [("hf_secret", "hf_secret"), (None, False)])
def test_the_token_is_that_of_the_environment(
    spec: EngineSpec, talk: Samples, monkeypatch: pytest.MonkeyPatch, variable: str | None, token: str | bool
) -> None:
    from backends.whisper import diarize_pyannote  # noqa: PLC0415 - needs the cuda set

    class Asked:
        tokens: list[object] = []  # noqa: RUF012

        @classmethod
        def from_pretrained(cls, _: str, token: object) -> None:
            cls.tokens.append(token)
            raise OSError

    monkeypatch.setattr(diarize_pyannote, "Pipeline", Asked)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    if variable:
        monkeypatch.setenv("HF_TOKEN", variable)
    assert os.environ.get("HF_TOKEN") == variable
    with pytest.raises(Unavailable):
        Diarizer(replace(spec, diarization_model="owner/speakers")).speakers(talk, Diarize())
    assert Asked.tokens == [token]
