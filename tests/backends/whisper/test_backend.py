import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import EngineSpec, Health, ModelSpec, Progress
from backends.errors import Broken, Invalid, MediaRefused, Unavailable, Unsupported
from backends.inprocess.hub import Hub
from backends.types import Chat, Event, Segment, Speech, Transcribe, Word
from backends.whisper.backend import WhisperBackend
from tests.backends.whisper.containers import encode, tone
from tests.backends.whisper.scripted import ScriptedEngine, whisper

MODEL = ModelSpec(source="team/whisper")
AUDIO = encode("wav", tone(3))
WAIT = 5.0


def ignored(_: Progress) -> None:
    pass


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def scripted(
    engine: ScriptedEngine, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[WhisperBackend]:
    monkeypatch.setattr("backends.whisper.backend.load", lambda *_: whisper(engine))
    backend = WhisperBackend(spec)
    await backend.load(MODEL, ignored)
    yield backend
    engine.go.set()
    await backend.close()


async def events(backend: WhisperBackend, request: Transcribe) -> list[Event]:
    return [event async for event in backend.run(MODEL, request)]


async def reached(engine: ScriptedEngine) -> None:
    assert await asyncio.to_thread(engine.entered.wait, WAIT)


async def test_speech_then_segments_in_order_and_inside_the_file(
    scripted: WhisperBackend, engine: ScriptedEngine
) -> None:
    engine.go.set()
    speech, *segments = await events(scripted, Transcribe(audio=AUDIO))
    assert speech == Speech("fr", 3.0, 0.75)
    assert [(s.id, s.start, s.end) for s in segments if isinstance(s, Segment)] == [
        (0, 0.0, 1.5),
        (1, 1.5, 2.5),
        (2, 2.5, 3.0),
    ]
    assert isinstance(segments[1], Segment)
    assert segments[1].words == (Word("1", 1.5, 2.5, 0.9),)


async def test_the_callers_options_are_honoured(scripted: WhisperBackend, engine: ScriptedEngine) -> None:
    engine.go.set()
    asked = Transcribe(
        audio=AUDIO, task="translate", language="yue", prompt="Names: Anna.", temperatures=(0.4,), words=True
    )
    (speech, *_) = await events(scripted, asked)
    await events(scripted, Transcribe(audio=AUDIO))
    assert speech == Speech("yue", 3.0, None)
    assert engine.options == [
        {
            "task": "translate",
            "language": "yue",
            "initial_prompt": "Names: Anna.",
            "word_timestamps": True,
            "vad_filter": False,
            "temperature": (0.4,),
        },
        {
            "task": "transcribe",
            "language": None,
            "initial_prompt": None,
            "word_timestamps": False,
            "vad_filter": False,
        },
    ]


async def test_only_audio_longer_than_a_window_is_searched_for_speech(
    scripted: WhisperBackend, engine: ScriptedEngine
) -> None:
    engine.go.set()
    await events(scripted, Transcribe(audio=encode("flac", tone(31))))
    assert engine.options[0]["vad_filter"] is True


async def test_segments_come_out_while_later_ones_are_still_to_be_decoded(
    scripted: WhisperBackend, engine: ScriptedEngine
) -> None:
    async with aclosing(scripted.run(MODEL, Transcribe(audio=AUDIO))) as stream:
        assert isinstance(await anext(stream), Speech)
        assert engine.made == 0
        engine.go.set()
        assert isinstance(await anext(stream), Segment)


async def test_a_caller_who_leaves_stops_the_work_at_the_next_segment(
    scripted: WhisperBackend, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.whisper.backend.AHEAD", 2)
    engine.segments = 1_000_000
    engine.go.set()
    async with aclosing(scripted.run(MODEL, Transcribe(audio=AUDIO))) as stream:
        await anext(stream)
        await anext(stream)
    stopped_at = engine.made
    assert stopped_at < 10
    engine.segments = 1
    await events(scripted, Transcribe(audio=AUDIO))
    assert engine.made == stopped_at + 1


async def test_callers_take_turns_and_one_who_waits_may_leave(scripted: WhisperBackend, engine: ScriptedEngine) -> None:
    first = asyncio.create_task(events(scripted, Transcribe(audio=AUDIO)))
    await reached(engine)
    waiting = asyncio.create_task(events(scripted, Transcribe(audio=AUDIO)))
    third = asyncio.create_task(events(scripted, Transcribe(audio=AUDIO)))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    engine.go.set()
    assert len(await first) == len(await third) == 4
    assert len(engine.options) == 2


async def test_unload_lets_accepted_work_end_and_takes_no_more(
    scripted: WhisperBackend, engine: ScriptedEngine
) -> None:
    running = asyncio.create_task(events(scripted, Transcribe(audio=AUDIO)))
    await reached(engine)
    unloading = asyncio.create_task(scripted.unload(MODEL))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="not loaded"):
        await events(scripted, Transcribe(audio=AUDIO))
    assert not unloading.done()
    engine.go.set()
    assert len(await running) == 4
    await unloading
    await scripted.unload(MODEL)


async def test_close_stops_what_runs(scripted: WhisperBackend, engine: ScriptedEngine) -> None:
    engine.segments = 1_000_000
    engine.go.set()
    stream = scripted.run(MODEL, Transcribe(audio=AUDIO))
    await anext(stream)
    await scripted.close()
    with pytest.raises(Unavailable):
        async for _ in stream:
            pass


async def test_a_device_that_gives_up_is_broken(scripted: WhisperBackend, engine: ScriptedEngine) -> None:
    engine.failure = RuntimeError("CUDA failed with error out of memory")
    engine.go.set()
    with pytest.raises(Broken) as broken:
        await events(scripted, Transcribe(audio=AUDIO))
    assert "CUDA" not in broken.value.message


async def test_a_language_that_is_none_is_refused_with_those_accepted(scripted: WhisperBackend) -> None:
    with pytest.raises(Invalid, match=r"'klingon'.*en, fr, yue") as refused:
        await events(scripted, Transcribe(audio=AUDIO, language="klingon"))
    assert refused.value.param == "language"


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (Transcribe(audio=AUDIO, task="translate"), "model"),
        (Transcribe(audio=AUDIO, language="fr"), "language"),
        (Chat(messages=({"role": "user", "content": "Hello"},)), "model"),
    ],
)
async def test_what_an_english_model_cannot_do_is_refused(
    backend: WhisperBackend, nano: ModelSpec, request_: Transcribe | Chat, param: str
) -> None:
    with pytest.raises(Unsupported) as refused:
        await anext(backend.run(nano, request_))
    assert refused.value.param == param


async def test_files_that_are_no_audio_are_refused(backend: WhisperBackend, nano: ModelSpec) -> None:
    with pytest.raises(MediaRefused, match="empty"):
        await anext(backend.run(nano, Transcribe(audio=b"")))


async def test_the_engines_limit_on_length_holds(spec: EngineSpec, nano: ModelSpec) -> None:
    backend = WhisperBackend(replace(spec, max_audio_seconds=2.0))
    await backend.load(nano, ignored)
    with pytest.raises(MediaRefused, match="2 s") as refused:
        await anext(backend.run(nano, Transcribe(audio=AUDIO)))
    assert refused.value.too_large
    await backend.close()


async def test_a_model_that_is_nowhere_names_the_way_out(spec: EngineSpec, tmp_path: Path) -> None:
    backend = WhisperBackend(spec, Hub(cache=tmp_path, endpoint="http://127.0.0.1:9"))
    with pytest.raises(Unavailable, match=r"hf download openai/whisper-tiny\.en"):
        await backend.load(ModelSpec(source="openai/whisper-tiny.en"), ignored)
    await backend.close()


async def test_health_says_whether_the_device_is_there(spec: EngineSpec) -> None:
    assert await WhisperBackend(spec).health() == Health(True)
    health = await WhisperBackend(replace(spec, device="tpu")).health()
    assert not health.ok
    assert "tpu" in health.reason


async def test_loading_twice_at_once_loads_once(spec: EngineSpec, nano: ModelSpec) -> None:
    backend = WhisperBackend(spec)
    reports: list[Progress] = []
    await asyncio.gather(*(backend.load(nano, reports.append) for _ in range(3)))
    assert reports.count(Progress("load", 1, 1)) == 1
    await backend.close()
