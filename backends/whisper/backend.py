"""Speech to text with Whisper in this process: requests share batches, and segments come out as they are decoded."""

from __future__ import annotations

import asyncio
import threading
import wave
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO

from backends.base import EngineSpec, Health, ModelSpec, Report, placed
from backends.errors import Invalid, Unavailable, Unsupported
from backends.inprocess.admission import Admission
from backends.inprocess.audio import SAMPLE_RATE, blocks
from backends.inprocess.batcher import Batcher
from backends.inprocess.executor import Executor, on_loop
from backends.inprocess.hub import Hub
from backends.inprocess.memory import give_back
from backends.inprocess.ordered import in_order
from backends.types import Event, Request, Transcribe
from backends.whisper import passages
from backends.whisper.after import After, asked
from backends.whisper.decoding import Decoder
from backends.whisper.listening import Recording, listen
from backends.whisper.model import Whisper, device_for, load
from backends.whisper.transcription import Engine, Transcription

# Windows take long to compute beside what it costs to wait for mates.
MAX_BATCH, MAX_WAIT_MS = 16, 5.0


@dataclass(slots=True)
class _Loaded:
    """A model, and how many requests it has; `idle` is set while it has none."""

    engine: Engine
    requests: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.idle.set()


class WhisperBackend:
    """Whisper on CTranslate2. Serves Transcribe: one Speech, then a Segment for each stretch of speech."""

    def __init__(self, spec: EngineSpec, hub: Hub | None = None) -> None:
        self._spec = spec
        self._hub = hub or Hub()
        self._loading = Executor(f"{spec.name}, loading")
        self._reading = Executor(f"{spec.name}, reading audio", workers=2)
        self._preparing = Executor(f"{spec.name}, computing features", workers=2)
        self._after = After(spec, self._hub)
        self._admission = Admission(spec.name, spec.max_queued_seconds, unit="seconds of audio")
        self._models: dict[ModelSpec, _Loaded] = {}
        self._one_load = asyncio.Lock()

    @property
    def queued_seconds(self) -> float:
        """Seconds of audio accepted and not yet transcribed."""
        return self._admission.queued

    @property
    def waiting(self) -> int:
        """Windows that wait for their turn, over all models."""
        return sum(loaded.engine.batcher.waiting for loaded in self._models.values())

    async def load(self, model: ModelSpec, report: Report) -> None:
        """Find, convert and load the model, unless it is. Raises Unavailable with the way out."""
        async with self._one_load:
            if model not in self._models:
                whisper = await self._loading.call(load, model, placed(self._spec, model), self._hub, on_loop(report))
                self._models[model] = _Loaded(self._engine(model.label, whisper))

    async def unload(self, model: ModelSpec) -> None:
        """Take no more requests for the model, let those accepted end, and free it."""
        loaded = self._models.pop(model, None)
        if loaded is not None:
            await loaded.idle.wait()
            await loaded.engine.batcher.close()
            del loaded
            await asyncio.to_thread(give_back)

    async def health(self) -> Health:
        """Whether the device that the engine is configured for is there."""
        try:
            device_for(self._spec)
        except Unavailable as error:
            return Health(False, error.message)
        return Health(True)

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """Speech, then segments. Raises Invalid for wrong options, MediaRefused for wrong files, Unavailable if not loaded,
        Overloaded when too much audio waits already.

        The work goes on while a slow reader reads, so that nobody waits for one: neither unloading nor those to be admitted.
        """
        if not isinstance(request, Transcribe):
            raise Unsupported(f"{model.label} transcribes speech and does nothing else.", param="model")
        async with aclosing(in_order([self._transcribed(model, request)], side_by_side=1)) as events:
            async for event in events:
                yield event

    async def probe(self, model: ModelSpec) -> Request:
        """A second of silence."""
        async with self._used(model) as engine:
            language = min(engine.whisper.languages)
        return Transcribe(audio=_silence(), language=language, temperatures=(0.0,))

    async def close(self) -> None:
        """Stop what runs after the batch it is in, and free every model."""
        models, self._models = self._models, {}
        for loaded in models.values():
            await loaded.engine.batcher.close()
        for executor in (self._loading, self._reading, self._preparing):
            await executor.close()
        await self._after.close()

    async def _transcribed(self, model: ModelSpec, request: Transcribe) -> AsyncGenerator[Event, None]:
        async with self._used(model) as engine:
            check(engine.whisper, model.label, request)
            self._after.check(request)
            recording = await self._listened(engine.whisper, request)
            with self._admission.admit(recording.seconds) as settled:
                async with (
                    aclosing(Transcription(engine, asked(request), settled).events(recording)) as heard,
                    aclosing(self._after.finish(heard, recording.whole, request)) as events,
                ):
                    async for event in events:
                        yield event

    def _engine(self, name: str, whisper: Whisper) -> Engine:
        batcher = Batcher(
            name,
            Decoder(whisper),
            max_batch=self._spec.max_batch or MAX_BATCH,
            max_wait_ms=MAX_WAIT_MS if self._spec.max_wait_ms is None else self._spec.max_wait_ms,
        )
        return Engine(name, whisper, batcher, self._preparing)

    @asynccontextmanager
    async def _used(self, model: ModelSpec) -> AsyncGenerator[Engine, None]:
        """The model's engine, which is not unloaded before the block ends. Raises Unavailable."""
        loaded = self._models.get(model)
        if loaded is None:
            raise Unavailable(f"{model.label} is not loaded.")
        loaded.requests += 1
        loaded.idle.clear()
        try:
            yield loaded.engine
        finally:
            loaded.requests -= 1
            if not loaded.requests:
                loaded.idle.set()

    async def _listened(self, whisper: Whisper, request: Transcribe) -> Recording:
        left = threading.Event()
        read = blocks(request.audio, max_seconds=self._spec.max_audio_seconds, stopped=left.is_set)
        whole = request.align or request.diarize is not None
        try:
            return await self._reading.call(listen, read, request.vad, window=whisper.window, whole=whole)
        finally:
            left.set()


def _silence() -> bytes:
    """A second of it, as a WAV file."""
    file = BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE)
        sound.writeframes(bytes(2 * SAMPLE_RATE))
    return file.getvalue()


def check(whisper: Whisper, name: str, request: Transcribe) -> None:
    """Refuse what the model cannot do. Raises Unsupported and Invalid."""
    if request.vad is not None:
        passages.check(request.vad)
    if request.task == "translate" and not whisper.multilingual:
        raise Unsupported(f"{name} knows English only and cannot translate; use a multilingual model.", param="model")
    if request.language is not None:
        _check_language(whisper, name, request.language, "language")
    elif whisper.multilingual:
        for code in request.languages:
            _check_language(whisper, name, code, "languages")
    elif request.languages and "en" not in request.languages:
        _check_language(whisper, name, request.languages[0], "languages")


def _check_language(whisper: Whisper, name: str, code: str, param: str) -> None:
    if code in whisper.languages:
        return
    accepted = ", ".join(sorted(whisper.languages))
    if not whisper.multilingual:
        raise Unsupported(f"{name} knows English only, not {code!r}; accepted: {accepted}.", param=param)
    raise Invalid(f"{code!r} is no language code that {name} knows; accepted: {accepted}.", param=param)
