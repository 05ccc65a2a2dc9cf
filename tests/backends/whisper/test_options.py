"""Each option of a transcription changes what the model is asked or what is made of its answer."""

import asyncio
import math
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest

from backends.base import EngineSpec, ModelSpec, Progress
from backends.inprocess.audio import SAMPLE_RATE, decode
from backends.types import Event, Segment, Speech, TokenLogprob, Transcribe, Vad
from backends.whisper.backend import WhisperBackend
from tests.backends.whisper.conftest import Clip
from tests.backends.whisper.containers import encode, tone
from tests.backends.whisper.scripted import TOKENIZER, Asked, Generation, ScriptedModel, spoken, stamp, whisper

MODEL = ModelSpec(source="team/whisper")
AUDIO = encode("wav", tone(3))
PLAIN = Transcribe(audio=AUDIO, language="en")
WAIT = 20.0


@pytest.fixture
def model() -> ScriptedModel:
    model = ScriptedModel()
    model.go.set()
    return model


@pytest.fixture
async def backend(
    model: ScriptedModel, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[WhisperBackend]:
    def ignored(_: Progress) -> None:
        pass

    monkeypatch.setattr("backends.whisper.backend.load", lambda *_: whisper(model))
    backend = WhisperBackend(spec)
    await backend.load(MODEL, ignored)
    yield backend
    await backend.close()


@pytest.fixture
def minutes(clips: list[Clip]) -> bytes:
    """Six times fifteen seconds of speech, with silence of five seconds between them."""
    gap = np.zeros(5 * SAMPLE_RATE, np.float32)
    speech = [
        np.concatenate([decode(clip.audio, max_seconds=60) for clip in clips[n : n + 7]]) for n in range(0, 42, 7)
    ]
    return encode("flac", np.concatenate([part for one in speech for part in (one, gap)]))


async def events(backend: WhisperBackend, request: Transcribe) -> list[Event]:
    return [event async for event in backend.run(MODEL, request)]


async def segments(backend: WhisperBackend, request: Transcribe) -> list[Segment]:
    return [event for event in await events(backend, request) if isinstance(event, Segment)]


def surer_when_hot(asked: Asked) -> Generation:
    """Unlikely up to a temperature of 0.3, and the likelier the hotter."""
    return Generation(spoken(f" At {asked.temperature:g}.", 0, 1), -1.5 if asked.temperature <= 0.3 else -0.5)


async def test_whispers_own_defaults_hold_where_nothing_is_said(backend: WhisperBackend, model: ScriptedModel) -> None:
    model.answer = lambda asked: Generation(spoken(" One.", 0, 1), -2.0)
    await events(backend, PLAIN)
    first, second, *rest = model.windows
    assert first.options == {
        "beam_size": 5,
        "patience": 1.0,
        "length_penalty": 1.0,
        "max_length": 448,
        "max_initial_timestamp_index": 50,
        "return_scores": True,
        "return_no_speech_prob": True,
        "suppress_tokens": [1, 2],
    }
    assert (
        second.options.items()
        >= {
            "beam_size": 1,
            "num_hypotheses": 5,
            "sampling_topk": 0,
            "sampling_temperature": 0.2,
        }.items()
    )
    assert [asked.temperature for asked in rest] == [0.4, 0.6, 0.8, 1.0]


async def test_beam_size_patience_and_length_penalty(backend: WhisperBackend, model: ScriptedModel) -> None:
    (segment, _) = await segments(backend, replace(PLAIN, beam_size=3, patience=2.0, length_penalty=0.5))
    (asked,) = model.windows
    assert asked.options.items() >= {"beam_size": 3, "patience": 2.0, "length_penalty": 0.5}.items()
    assert segment.avg_logprob == pytest.approx(-0.1)


async def test_best_of(backend: WhisperBackend, model: ScriptedModel) -> None:
    await events(backend, replace(PLAIN, temperatures=(0.7,), best_of=2))
    (asked,) = model.windows
    assert asked.options.items() >= {"num_hypotheses": 2, "sampling_temperature": 0.7, "beam_size": 1}.items()


async def test_temperatures_are_tried_in_turn_until_one_is_likely_and_encoded_once(
    backend: WhisperBackend, model: ScriptedModel
) -> None:
    model.answer = surer_when_hot
    (segment,) = await segments(backend, replace(PLAIN, temperatures=(0.0, 0.3, 0.5, 0.9)))
    assert [asked.temperature for asked in model.windows] == [0.0, 0.3, 0.5]
    assert (segment.text, segment.temperature) == (" At 0.5.", 0.5)
    assert model.encoded == [1]


async def test_when_all_temperatures_fail_the_likeliest_that_does_not_repeat_itself_is_taken(
    backend: WhisperBackend, model: ScriptedModel
) -> None:
    said = {
        0.0: Generation(spoken(" One.", 0, 1), -3.0),
        0.2: Generation(spoken(" Two.", 0, 1), -2.0),
        0.4: Generation(spoken(" ha" * 60, 0, 1), -0.1),
    }
    model.answer = lambda asked: said[asked.temperature]
    (segment,) = await segments(backend, replace(PLAIN, temperatures=(0.0, 0.2, 0.4)))
    assert (segment.text, segment.temperature) == (" Two.", 0.2)


async def test_a_failing_window_is_tried_again_without_its_mates(backend: WhisperBackend, model: ScriptedModel) -> None:
    def answer(asked: Asked) -> Generation:
        return surer_when_hot(asked) if TOKENIZER.encode(" x")[0] in asked.prompt else Generation(spoken(" Ok.", 0, 1))

    model.answer = answer
    model.go.clear()
    hard = [asyncio.create_task(segments(backend, replace(PLAIN, prompt="x"))) for _ in range(2)]
    easy = [asyncio.create_task(segments(backend, replace(PLAIN, prompt="y"))) for _ in range(2)]
    assert await asyncio.to_thread(model.entered.wait, WAIT)
    model.go.set()
    assert [one.text for (one,) in await asyncio.gather(*easy)] == [" Ok.", " Ok."]
    assert [one.text for (one,) in await asyncio.gather(*hard)] == [" At 0.4.", " At 0.4."]
    assert sum(asked.temperature == 0 for asked in model.windows) == 4
    assert sum(asked.temperature > 0 for asked in model.windows) == 4


async def test_compression_ratio_threshold(backend: WhisperBackend, model: ScriptedModel) -> None:
    model.answer = lambda asked: Generation(spoken(" ha" * 40 if not asked.temperature else " Ha.", 0, 1))
    (segment,) = await segments(backend, PLAIN)
    assert segment.text == " Ha."
    (segment,) = await segments(backend, replace(PLAIN, compression_ratio_threshold=100.0))
    assert segment.text == " ha" * 40
    assert segment.compression_ratio > 2.4


async def test_logprob_threshold(backend: WhisperBackend, model: ScriptedModel) -> None:
    model.answer = surer_when_hot
    (segment,) = await segments(backend, replace(PLAIN, logprob_threshold=-2.0))
    assert segment.temperature == 0.0
    (segment,) = await segments(backend, PLAIN)
    assert segment.temperature == 0.4


async def test_no_speech_threshold(backend: WhisperBackend, model: ScriptedModel) -> None:
    model.answer = lambda _: Generation(spoken(" Thanks for watching!", 0, 1), -1.2, no_speech_prob=0.7)
    assert await segments(backend, PLAIN) == []
    assert len(model.windows) == 1
    assert await segments(backend, replace(PLAIN, no_speech_threshold=0.8))
    assert await segments(backend, replace(PLAIN, logprob_threshold=-2.0))


async def test_prompt_and_hotwords_stand_before_the_transcript(backend: WhisperBackend, model: ScriptedModel) -> None:
    await events(backend, replace(PLAIN, prompt="Dear Emma, ", hotwords=("Zork", "Quux")))
    await events(backend, PLAIN)
    with_prompt, without = model.windows
    assert with_prompt.prompt[0] == TOKENIZER.sot_prev
    assert with_prompt.before == " Zork, Quux Dear Emma,"
    assert without.prompt[0] == TOKENIZER.sot


async def test_a_prompt_that_is_too_long_keeps_its_end_and_hotwords_their_start(
    backend: WhisperBackend, model: ScriptedModel
) -> None:
    await events(backend, replace(PLAIN, prompt="word " * 300 + "end", hotwords=("Zork",)))
    await events(backend, replace(PLAIN, prompt="lost", hotwords=("Zork", *["word"] * 300)))
    for asked in model.windows:
        assert asked.prompt.index(TOKENIZER.sot) == 224
        assert asked.before.startswith(" Zork")
    assert model.windows[0].before.endswith(" end")


async def test_prompts_of_other_lengths_do_not_meet_in_a_call(backend: WhisperBackend, model: ScriptedModel) -> None:
    model.go.clear()
    texts = ("one", "one two", "two one", "three one two")
    asked = [asyncio.create_task(events(backend, replace(PLAIN, prompt=text))) for text in texts]
    assert await asyncio.to_thread(model.entered.wait, WAIT)
    model.go.set()
    await asyncio.gather(*asked)
    assert len(model.windows) == 4
    for window in model.windows:
        mates = [other for other in model.windows if len(other.prompt) == len(window.prompt)]
        assert window.batch <= len(mates)


async def test_language_task_and_languages(backend: WhisperBackend, model: ScriptedModel) -> None:
    def start(window: Asked) -> list[str]:
        return [TOKENIZER.tokenizer.id_to_token(token) for token in window.prompt]

    speech: dict[str, object] = {}
    for name, request in {
        "given": Transcribe(audio=AUDIO, language="de", task="translate"),
        "found": Transcribe(audio=AUDIO),
        "among": Transcribe(audio=AUDIO, languages=("de", "yue")),
    }.items():
        speech[name], *_ = await events(backend, request)
    given, found, among = model.windows
    assert start(given) == ["<|startoftranscript|>", "<|de|>", "<|translate|>"]
    assert start(found) == ["<|startoftranscript|>", "<|fr|>", "<|transcribe|>"]
    assert start(among) == ["<|startoftranscript|>", "<|de|>", "<|transcribe|>"]
    assert speech == {
        "given": Speech("de", 3.0, None),
        "found": Speech("fr", 3.0, 0.75),
        "among": Speech("de", 3.0, 0.05),
    }


async def test_words_and_logprobs_come_from_one_alignment(backend: WhisperBackend, model: ScriptedModel) -> None:
    model.answer = lambda _: Generation([*spoken(" One two", 0, 1.5), *spoken(" six.", 1.5, 2.5)])
    first, second = await segments(backend, replace(PLAIN, words=True, logprobs=True))
    assert model.aligned == [[TOKENIZER.sot, *TOKENIZER.encode(""), *model.windows[0].prompt[1:]]]
    assert [word.text for word in (*first.words, *second.words)] == ["One", "two", "six."]
    assert {word.probability for word in first.words} == {0.5}
    half = math.log(0.5)
    assert list(second.logprobs) == [TokenLogprob(TOKENIZER.decode([one]), half) for one in TOKENIZER.encode(" six.")]
    assert first.end <= second.words[0].start


async def test_what_is_begun_and_not_ended_is_heard_again_from_where_it_begins(
    backend: WhisperBackend, model: ScriptedModel
) -> None:
    answers = iter(
        [
            Generation([*spoken(" One.", 0, 1), stamp(1), *TOKENIZER.encode(" Tw")]),
            Generation(spoken(" Two.", 0, 1.5)),
        ]
    )
    model.answer = lambda _: next(answers)
    first, second = await segments(backend, PLAIN)
    assert (first.text, first.start, first.end, first.seek) == (" One.", 0.0, 1.0, 0)
    assert (second.text, second.start, second.end, second.seek) == (" Two.", 1.0, 2.5, 100)


async def test_a_model_trained_on_short_windows_gets_short_ones(
    spec: EngineSpec, model: ScriptedModel, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.whisper.backend.load", lambda *_: whisper(model, shortest=500))
    backend = WhisperBackend(spec)
    await backend.load(MODEL, lambda _: None)
    await asyncio.gather(
        *(events(backend, replace(PLAIN, audio=encode("wav", tone(seconds)))) for seconds in (2, 3, 7, 8, 28))
    )
    await backend.close()
    assert sorted(set(model.frames)) == [500, 1000, 3000]
    assert sum(model.encoded) == 5


async def test_a_cpu_encodes_a_few_windows_at_a_time_and_decodes_all_together(
    backend: WhisperBackend, model: ScriptedModel
) -> None:
    model.go.clear()
    requests = [replace(PLAIN, audio=encode("wav", tone(1 + number / 10))) for number in range(10)]
    asked = [asyncio.create_task(segments(backend, requests[0]))]
    assert await asyncio.to_thread(model.entered.wait, WAIT)
    asked += [asyncio.create_task(segments(backend, request)) for request in requests[1:]]
    async with asyncio.timeout(WAIT):
        while backend.waiting < 9:  # noqa: ASYNC110 - a count of the backend's, which announces nothing
            await asyncio.sleep(0.005)
    model.go.set()
    await asyncio.gather(*asked)
    assert model.encoded == [1, 4, 4, 1]
    assert [window.batch for window in model.windows] == [1] + [9] * 9


async def test_a_clip_is_served_long_before_a_long_file_that_came_first(
    backend: WhisperBackend, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = [{"start": 16 * n * SAMPLE_RATE, "end": (16 * n + 15) * SAMPLE_RATE} for n in range(60)]
    monkeypatch.setattr("backends.whisper.listening.get_speech_timestamps", lambda *_: spans)
    monkeypatch.setattr("backends.whisper.listening.BLOCK", 1000 * SAMPLE_RATE)
    model.answer = lambda _: Generation(spoken(" Some.", 0, 10))
    model.go.clear()
    long = replace(PLAIN, audio=encode("flac", np.zeros(960 * SAMPLE_RATE, np.float32)))
    first = asyncio.create_task(segments(backend, long))
    assert await asyncio.to_thread(model.entered.wait, WAIT)
    queued = backend.queued_seconds
    clip = asyncio.create_task(segments(backend, PLAIN))
    async with asyncio.timeout(WAIT):
        while backend.queued_seconds == queued:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
    model.go.set()
    assert len(await clip) == 1
    assert not first.done()
    assert len(await first) == 60
    assert len(model.encoded) < 61


async def test_long_audio_is_decoded_side_by_side_without_the_text_before_it(
    backend: WhisperBackend, model: ScriptedModel, minutes: bytes
) -> None:
    model.answer = lambda _: Generation(spoken(" Some.", 0, 10))
    found = await segments(backend, replace(PLAIN, audio=minutes))
    assert len(found) == len(model.windows) > 2
    assert max(window.batch for window in model.windows) > 1
    assert not any(window.before for window in model.windows)
    assert [segment.start for segment in found] == sorted(segment.start for segment in found)


async def test_condition_on_previous_text_goes_window_by_window(
    backend: WhisperBackend, model: ScriptedModel, minutes: bytes
) -> None:
    said = iter(range(100))
    model.answer = lambda _: Generation(spoken(f" Number {next(said)} is what I say now.", 0, 30))
    await events(backend, replace(PLAIN, audio=minutes, condition_on_previous_text=True, prompt="To begin with:"))
    assert len(model.windows) > 2
    assert {window.batch for window in model.windows} == {1}
    assert model.windows[0].before == " To begin with:"
    assert "Number 0 is what I say now." in model.windows[1].before
    assert "Number 1 is what I say now." in model.windows[2].before


async def test_callers_whose_windows_know_the_text_before_share_calls_too(
    spec: EngineSpec, model: ScriptedModel, minutes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.whisper.backend.load", lambda *_: whisper(model))
    backend = WhisperBackend(replace(spec, max_batch=2, max_wait_ms=1000 * WAIT))
    await backend.load(MODEL, lambda _: None)
    model.answer = lambda _: Generation(spoken(" The same long sentence is said by both of them again.", 0, 30))
    request = replace(PLAIN, audio=minutes, condition_on_previous_text=True)
    one, other = await asyncio.gather(segments(backend, request), segments(backend, request))
    await backend.close()
    assert one == other
    assert {window.batch for window in model.windows} == {2}
    assert model.windows[-1].before


async def test_text_that_had_to_be_guessed_is_no_help_to_the_next_window(
    backend: WhisperBackend, model: ScriptedModel, minutes: bytes
) -> None:
    model.answer = lambda _: Generation(spoken(" Guessed.", 0, 30), -0.5)
    request = replace(PLAIN, audio=minutes, condition_on_previous_text=True, temperatures=(0.8,))
    await events(backend, request)
    assert not any(window.before for window in model.windows)


async def test_first_segments_come_before_the_rest_of_the_file_is_decoded(
    backend: WhisperBackend, model: ScriptedModel, minutes: bytes
) -> None:
    rest = threading.Event()
    first_heard = threading.Event()

    def answer(_: Asked) -> Generation:
        if first_heard.is_set():
            assert rest.wait(WAIT)
        first_heard.set()
        return Generation(spoken(" Some.", 0, 10))

    model.answer = answer
    request = Transcribe(audio=minutes)  # the first passage finds out the language alone
    async with aclosing(backend.run(MODEL, request)) as stream:
        assert isinstance(await anext(stream), Speech)
        assert isinstance(await anext(stream), Segment)
        assert len(model.windows) == 1
        rest.set()
        assert len([event async for event in stream]) > 1


async def test_vad_is_for_long_audio_unless_it_is_asked_for(
    backend: WhisperBackend, model: ScriptedModel, clips: list[Clip]
) -> None:
    speech = decode(clips[1].audio, max_seconds=60)
    silence = np.zeros(10 * SAMPLE_RATE, np.float32)
    short = replace(PLAIN, audio=encode("flac", np.concatenate([silence, speech])))
    model.answer = lambda _: Generation(spoken(" Some.", 0, 1))
    (whole,) = await segments(backend, short)
    (cut,) = await segments(backend, replace(short, vad=Vad()))
    assert whole.start == 0
    assert cut.start == pytest.approx(9.6, abs=0.3)
    (later,) = await segments(backend, replace(short, vad=Vad(prefix_padding_ms=0)))
    assert later.start == pytest.approx(cut.start + 0.4, abs=0.05)
    assert await segments(backend, replace(short, vad=Vad(threshold=1.0))) == []


async def test_silence_costs_nothing_and_still_has_a_language(backend: WhisperBackend, model: ScriptedModel) -> None:
    silence = encode("flac", np.zeros(60 * SAMPLE_RATE, np.float32))
    assert await events(backend, Transcribe(audio=silence, language="de")) == [Speech("de", 60.0, None)]
    assert not model.windows
    assert await events(backend, Transcribe(audio=silence)) == [Speech("fr", 60.0, 0.75)]
