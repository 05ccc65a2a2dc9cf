"""Who speaks: names for voices, segments for speakers, and what is said where it cannot be done."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import EngineSpec
from backends.errors import Invalid, Unsupported
from backends.types import Diarize, Segment, TokenLogprob, Word
from backends.whisper.diarize import Diarizer, check_numbers
from backends.whisper.diarize_assign import assign
from backends.whisper.diarize_names import Print, Turn, letters, matched, named

SPEC = EngineSpec(name="speech", kind="whisper", diarization_model="/models/speakers")


def voice(*direction: float) -> Print:
    return np.array(direction)


def segment(text: str, *words: Word, start: float = 0.0, end: float = 4.0) -> Segment:
    return Segment(
        id=7,
        seek=0,
        start=start,
        end=end,
        text=text,
        tokens=(1, 2),
        temperature=0.0,
        avg_logprob=-0.1,
        compression_ratio=1.0,
        no_speech_prob=0.0,
        words=words,
        logprobs=(TokenLogprob("x", -0.1),),
    )


# --------------------------------------------------------------------------- names


def test_speakers_are_letters_in_order_of_appearance() -> None:
    turns = [Turn(0, 1, "SPEAKER_01"), Turn(1, 2, "SPEAKER_00"), Turn(2, 3, "SPEAKER_01")]
    assert [turn.speaker for turn in named(turns, {}, {})] == ["A", "B", "A"]


def test_a_known_voice_has_its_name_and_the_others_letters() -> None:
    turns = [Turn(0, 1, "one"), Turn(1, 2, "two")]
    heard = {"one": voice(1, 0), "two": voice(0.1, 5)}
    assert [turn.speaker for turn in named(turns, heard, {"Ann": voice(0, 2)})] == ["A", "Ann"]


def test_a_voice_unlike_the_known_one_keeps_its_letter() -> None:
    assert named([Turn(0, 1, "one")], {"one": voice(1, 0)}, {"Ann": voice(1, 2)}) == [Turn(0, 1, "A")]


def test_the_likest_voice_gets_the_name_and_nobody_else() -> None:
    likeness = {("one", "Ann"): 0.8, ("two", "Ann"): 0.9, ("one", "Bob"): 0.6, ("two", "Bob"): 0.7}
    assert matched(likeness) == {"two": "Ann", "one": "Bob"}


def test_a_voice_without_a_print_is_nobody_known() -> None:
    for nothing in (voice(0, 0), voice(float("nan"), 0)):
        assert named([Turn(0, 1, "one")], {"one": nothing}, {"Ann": voice(0, 0)}) == [Turn(0, 1, "A")]


def test_letters_go_on_after_z_and_leave_out_names_that_are_taken() -> None:
    assert list(islice(letters({"B": 0, "AA": 0}), 27)) == [*"ACDEFGHIJKLMNOPQRSTUVWXYZ", "AB", "AC"]


# --------------------------------------------------------------------------- segments


def test_without_words_a_segment_has_the_speaker_of_most_of_its_time() -> None:
    turns = [Turn(0, 1, "A"), Turn(1, 2.4, "B"), Turn(2.5, 3.5, "A")]
    assert [part.speaker for part in assign([segment("hello")], turns)] == ["A"]


def test_a_segment_in_nobodys_time_has_the_nearest_speaker() -> None:
    turns = [Turn(0, 1, "A"), Turn(8, 9, "B")]
    for (start, end), speaker in {(1.5, 2.5): "A", (6, 7): "B", (20, 21): "B"}.items():
        assert assign([segment("hello", start=start, end=end)], turns)[0].speaker == speaker


def test_without_turns_nobody_speaks() -> None:
    assert assign([segment("hello")], []) == [segment("hello")]


def test_a_segment_is_cut_where_the_speaker_changes() -> None:
    words = (Word("the", 0.2, 0.5, 1), Word("the", 0.6, 0.9, 1), Word("Oh!", 2.0, 2.2, 1), Word("the", 2.4, 3.0, 1))
    whole = segment(" the the - Oh! the", *words)
    first, second = assign([whole], [Turn(0, 1, "A"), Turn(1.9, 4, "B")])
    assert first == replace(whole, end=0.9, text=" the the -", words=words[:2], speaker="A")
    assert second == replace(whole, start=2.0, text=" Oh! the", words=words[2:], speaker="B", tokens=(), logprobs=())


def test_a_segment_whose_text_lacks_its_words_stays_whole() -> None:
    words = (Word("one", 0, 1, 1), Word("two", 2, 4, 1))
    (part,) = assign([segment(" one deux", *words)], [Turn(0, 1, "A"), Turn(2, 4, "B")])
    assert (part.speaker, part.words) == ("B", words)


def _turns(gaps: list[tuple[float, float, str]]) -> list[Turn]:
    found: list[Turn] = []
    at = 0.0
    for gap, length, speaker in gaps:
        found.append(Turn(at + gap, at + gap + length, speaker))
        at = found[-1].end
    return found


def _segment(pieces: list[tuple[str, float, float]]) -> Segment:
    words = []
    at = 0.0
    for text, gap, length in pieces:
        words.append(Word(text, at + gap, at + gap + length, 1.0))
        at = words[-1].end
    return segment("".join(f" {word.text}" for word in words), *words, end=at + 0.5)


turn_lists = st.lists(st.tuples(st.floats(0, 3), st.floats(0.01, 3), st.sampled_from("ABC")), max_size=12).map(_turns)
texts = st.lists(st.tuples(st.sampled_from(["a", "aa", "ab", "b,"]), st.floats(0, 2), st.floats(0, 2)), max_size=12)


@given(turn_lists, texts)
def test_nothing_is_lost_by_cutting(turns: list[Turn], pieces: list[tuple[str, float, float]]) -> None:
    whole = _segment(pieces)
    parts = assign([whole], turns)
    assert "".join(part.text for part in parts) == whole.text
    assert tuple(word for part in parts for word in part.words) == whole.words
    assert tuple(token for part in parts for token in part.tokens) == whole.tokens
    assert tuple(logprob for part in parts for logprob in part.logprobs) == whole.logprobs
    assert (parts[0].start, parts[-1].end) == (whole.start, whole.end)
    assert all(before.speaker != after.speaker for before, after in pairwise(parts))
    assert all(before.end <= after.start for before, after in pairwise(parts))


@given(turn_lists.filter(bool), st.floats(0, 40), st.floats(0, 10))
def test_the_speaker_is_the_one_whom_counting_every_turn_finds(turns: list[Turn], start: float, length: float) -> None:
    end = start + length
    shares: dict[str, float] = {}
    for turn in turns:
        shared = min(end, turn.end) - max(start, turn.start)
        shares[turn.speaker] = shares.get(turn.speaker, 0.0) + max(0.0, shared)
    speaker = assign([segment("hello", start=start, end=end)], turns)[0].speaker
    assert speaker is not None
    if any(shares.values()):
        assert shares[speaker] == pytest.approx(max(shares.values()))
    else:
        far = {turn: max(turn.start - end, start - turn.end) for turn in turns}
        assert min(far[turn] for turn in turns if turn.speaker == speaker) == min(far.values())


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("package", ["pyannote", "pyannote.audio"])
def test_without_the_package_the_refusal_names_it(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, "pyannote", sys)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Unsupported, match=r"whisperx and pyannote-audio.*requirements/cuda.lock") as refusal:
        Diarizer(SPEC).check(Diarize())
    assert refusal.value.param == "diarize"


def test_without_a_pipeline_the_refusal_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyannote", sys)
    monkeypatch.setitem(sys.modules, "pyannote.audio", sys)
    with pytest.raises(Unsupported, match="DIARIZATION_MODEL") as refusal:
        Diarizer(replace(SPEC, diarization_model=None)).check(Diarize())
    assert refusal.value.param == "diarize"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        (Diarize(num_speakers=0), "num_speakers"),
        (Diarize(min_speakers=-1), "min_speakers"),
        (Diarize(max_speakers=0), "max_speakers"),
        (Diarize(min_speakers=3, max_speakers=2), "min_speakers"),
        (Diarize(num_speakers=1, min_speakers=2), "num_speakers"),
        (Diarize(num_speakers=3, max_speakers=2), "num_speakers"),
    ],
)
def test_numbers_of_speakers_that_cannot_be_are_refused(options: Diarize, param: str) -> None:
    with pytest.raises(Invalid, match=param) as refusal:
        check_numbers(options)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    "options",
    [
        Diarize(),
        Diarize(num_speakers=2),
        Diarize(min_speakers=2, max_speakers=2),
        Diarize(num_speakers=2, max_speakers=2),
    ],
)
def test_numbers_of_speakers_that_agree_are_taken(options: Diarize) -> None:
    check_numbers(options)
