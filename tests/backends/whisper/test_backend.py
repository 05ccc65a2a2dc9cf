import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import EngineSpec, Health, ModelSpec, Progress
from backends.errors import Broken, Invalid, MediaRefused, Overloaded, Unavailable, Unsupported
from backends.inprocess.hub import Hub
from backends.types import Chat, Event, Segment, Speech, Transcribe, Vad
from backends.whisper.backend import WhisperBackend
from tests.backends.whisper.containers import encode, tone
from tests.backends.whisper.scripted import ScriptedModel, whisper

MODEL = ModelSpec(source="team/whisper")
AUDIO = encode("wav", tone(3))
WAIT = 20.0


def ignored(_: Progress) -> None:
    pass


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
async def scripted(
    model: ScriptedModel, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[WhisperBackend]:
    monkeypatch.setattr("backends.whisper.backend.load", lambda *_: whisper(model))
    backend = WhisperBackend(spec)
    await backend.load(MODEL, ignored)
    yield backend
    model.go.set()
    await backend.close()


async def events(backend: WhisperBackend, request: Transcribe) -> list[Event]:
    return [event async for event in backend.run(MODEL, request)]


async def reached(model: ScriptedModel) -> None:
    assert await asyncio.to_thread(model.entered.wait, WAIT)


async def waiting(backend: WhisperBackend, windows: int) -> None:
    """Until so many windows wait behind the batch that runs."""
    async with asyncio.timeout(WAIT):
        while backend.waiting < windows:  # noqa: ASYNC110 - a count of the backend's, which announces nothing
            await asyncio.sleep(0.005)


async def test_speech_then_segments_in_order_and_inside_the_file(
    scripted: WhisperBackend, model: ScriptedModel
) -> None:
    model.go.set()
    speech, *segments = await events(scripted, Transcribe(audio=AUDIO))
    assert speech == Speech("fr", 3.0, 0.75)
    assert [(s.id, s.start, s.end, s.text) for s in segments if isinstance(s, Segment)] == [
        (0, 0.0, 1.0, " One."),
        (1, 1.0, 2.0, " Two."),
    ]


async def test_requests_that_come_together_share_a_call(scripted: WhisperBackend, model: ScriptedModel) -> None:
    first = asyncio.create_task(events(scripted, Transcribe(audio=AUDIO)))
    await reached(model)
    mates = [asyncio.create_task(events(scripted, Transcribe(audio=AUDIO, language=code))) for code in ("en", "de")]
    mates.append(asyncio.create_task(events(scripted, Transcribe(audio=AUDIO, task="translate"))))
    await waiting(scripted, 3)
    model.go.set()
    alone = await first
    for mate, language in zip(mates, ("en", "de", "fr"), strict=True):
        speech, *segments = await mate
        assert isinstance(speech, Speech)
        assert speech.language == language
        assert segments == alone[1:]
    assert model.encoded == [1, 3]


async def test_a_caller_who_leaves_disturbs_no_mate(scripted: WhisperBackend, model: ScriptedModel) -> None:
    first = asyncio.create_task(events(scripted, Transcribe(audio=AUDIO)))
    await reached(model)
    leaving, staying = (asyncio.create_task(events(scripted, Transcribe(audio=AUDIO))) for _ in range(2))
    await waiting(scripted, 2)
    for task in (first, leaving):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert scripted.queued_seconds == 3
    model.go.set()
    assert len(await staying) == 3
    assert model.encoded == [1, 1]


async def test_segments_come_out_while_later_ones_are_still_to_be_decoded(
    scripted: WhisperBackend, model: ScriptedModel
) -> None:
    async with aclosing(scripted.run(MODEL, Transcribe(audio=AUDIO, language="en"))) as stream:
        assert await anext(stream) == Speech("en", 3.0, None)
        assert not model.windows
        model.go.set()
        assert isinstance(await anext(stream), Segment)


async def test_unload_lets_accepted_work_end_and_takes_no_more(scripted: WhisperBackend, model: ScriptedModel) -> None:
    running = asyncio.create_task(events(scripted, Transcribe(audio=AUDIO)))
    await reached(model)
    unloading = asyncio.create_task(scripted.unload(MODEL))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="not loaded"):
        await events(scripted, Transcribe(audio=AUDIO))
    assert not unloading.done()
    model.go.set()
    assert len(await running) == 3
    await unloading
    await scripted.unload(MODEL)


async def test_a_reader_who_stalls_holds_up_neither_unloading_nor_others(
    scripted: WhisperBackend, model: ScriptedModel
) -> None:
    model.go.set()
    async with aclosing(scripted.run(MODEL, Transcribe(audio=AUDIO))) as stalled:
        assert isinstance(await anext(stalled), Speech)
        async with asyncio.timeout(WAIT):
            await scripted.unload(MODEL)
        assert scripted.queued_seconds == 0
        assert len([event async for event in stalled]) == 2


async def test_close_stops_what_runs(scripted: WhisperBackend, model: ScriptedModel) -> None:
    running = asyncio.create_task(events(scripted, Transcribe(audio=AUDIO)))
    await reached(model)
    late = asyncio.create_task(events(scripted, Transcribe(audio=AUDIO)))
    await waiting(scripted, 1)
    closing = asyncio.create_task(scripted.close())
    with pytest.raises(Unavailable):
        await late
    model.go.set()
    await closing
    await asyncio.wait([running])


def out_of_memory_from(size: int) -> Callable[[int], Exception | None]:
    return lambda batch: RuntimeError("CUDA failed with error out of memory") if batch >= size else None


async def test_out_of_memory_halves_the_batch_and_all_are_served(
    scripted: WhisperBackend, model: ScriptedModel
) -> None:
    model.failure = out_of_memory_from(2)
    first = asyncio.create_task(events(scripted, Transcribe(audio=AUDIO)))
    await reached(model)
    mates = [asyncio.create_task(events(scripted, Transcribe(audio=AUDIO))) for _ in range(3)]
    await waiting(scripted, 3)
    model.go.set()
    assert [len(found) for found in await asyncio.gather(first, *mates)] == [3, 3, 3, 3]


async def test_out_of_memory_for_one_window_says_to_come_again_and_the_next_is_served(
    scripted: WhisperBackend, model: ScriptedModel
) -> None:
    model.go.set()
    model.failure = out_of_memory_from(1)
    with pytest.raises(Unavailable, match="memory") as full:
        await events(scripted, Transcribe(audio=AUDIO))
    assert full.value.retry_after
    model.failure = lambda _: None
    assert len(await events(scripted, Transcribe(audio=AUDIO))) == 3


async def test_a_device_that_gives_up_is_broken(scripted: WhisperBackend, model: ScriptedModel) -> None:
    model.failure = lambda _: RuntimeError("CUDA failed with error unspecified launch failure")
    model.go.set()
    with pytest.raises(Broken) as broken:
        await events(scripted, Transcribe(audio=AUDIO))
    assert "CUDA" not in broken.value.message


async def test_more_audio_than_may_wait_is_refused_with_the_time_to_come_again(
    spec: EngineSpec, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.whisper.backend.load", lambda *_: whisper(model))
    backend = WhisperBackend(replace(spec, max_queued_seconds=5.0))
    await backend.load(MODEL, ignored)
    running = asyncio.create_task(events(backend, Transcribe(audio=AUDIO)))
    await reached(model)
    with pytest.raises(Overloaded, match="3 seconds of audio") as refused:
        await events(backend, Transcribe(audio=AUDIO))
    assert refused.value.retry_after
    model.go.set()
    assert len(await running) == 3
    assert len(await events(backend, Transcribe(audio=AUDIO))) == 3
    await backend.close()


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"language": "klingon"}, "language"),
        ({"languages": ("en", "klingon")}, "languages"),
        ({"beam_size": 0}, "beam_size"),
        ({"best_of": 1000}, "best_of"),
        ({"patience": 0.0}, "patience"),
        ({"length_penalty": float("nan")}, "length_penalty"),
        ({"temperatures": ()}, "temperature"),
        ({"temperatures": (0.0, -1.0)}, "temperature"),
        ({"no_speech_threshold": float("nan")}, "no_speech_threshold"),
        ({"vad": Vad(threshold=1.5)}, "chunking_strategy.threshold"),
        ({"vad": Vad(prefix_padding_ms=-1)}, "chunking_strategy.prefix_padding_ms"),
        ({"vad": Vad(silence_duration_ms=-1)}, "chunking_strategy.silence_duration_ms"),
    ],
)
async def test_wrong_values_are_refused_by_name(
    scripted: WhisperBackend, model: ScriptedModel, wrong: dict[str, object], param: str
) -> None:
    model.go.set()
    with pytest.raises(Invalid) as refused:
        await events(scripted, replace(Transcribe(audio=AUDIO), **wrong))  # type: ignore[arg-type]
    assert refused.value.param == param
    assert not model.windows


async def test_a_language_that_is_none_is_refused_with_those_accepted(scripted: WhisperBackend) -> None:
    with pytest.raises(Invalid, match=r"'klingon'.*de, en, fr, yue"):
        await events(scripted, Transcribe(audio=AUDIO, language="klingon"))


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (Transcribe(audio=AUDIO, task="translate"), "model"),
        (Transcribe(audio=AUDIO, language="fr"), "language"),
        (Transcribe(audio=AUDIO, languages=("fr", "de")), "languages"),
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


async def test_a_load_that_fails_leaves_nothing_behind_and_the_next_one_loads(
    spec: EngineSpec, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise Unavailable("The disk is gone.")

    backend = WhisperBackend(spec)
    monkeypatch.setattr("backends.whisper.backend.load", fails)
    loads = await asyncio.gather(*(backend.load(MODEL, ignored) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in loads] == ["The disk is gone."] * 3
    with pytest.raises(Unavailable, match="not loaded"):
        await events(backend, Transcribe(audio=AUDIO))
    monkeypatch.setattr("backends.whisper.backend.load", lambda *_: whisper(model))
    model.go.set()
    await backend.load(MODEL, ignored)
    assert len(await events(backend, Transcribe(audio=AUDIO))) == 3
    await backend.close()


async def test_another_model_may_load_while_one_serves(
    scripted: WhisperBackend, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ScriptedModel()
    other.go.set()
    running = asyncio.create_task(events(scripted, Transcribe(audio=AUDIO)))
    await reached(model)
    monkeypatch.setattr("backends.whisper.backend.load", lambda *_: whisper(other))
    await scripted.load(ModelSpec(source="team/other"), ignored)
    stream = scripted.run(ModelSpec(source="team/other"), Transcribe(audio=AUDIO))
    assert len([event async for event in stream]) == 3
    assert not running.done()
    model.go.set()
    assert len(await running) == 3


async def test_health_says_whether_the_device_is_there(spec: EngineSpec) -> None:
    assert await WhisperBackend(spec).health() == Health(True)
    health = await WhisperBackend(replace(spec, device="tpu")).health()
    assert not health.ok
    assert "tpu" in health.reason


async def test_loading_fifty_times_at_once_loads_once(spec: EngineSpec, nano: ModelSpec) -> None:
    backend = WhisperBackend(spec)
    reports: list[Progress] = []
    await asyncio.gather(*(backend.load(nano, reports.append) for _ in range(50)))
    assert reports.count(Progress("load", 1, 1)) == 1
    await backend.close()
