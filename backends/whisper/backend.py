"""Speech to text with Whisper in this process: segments come out as they are decoded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from faster_whisper.transcribe import Segment as RawSegment

from backends.base import EngineSpec, Health, ModelSpec, Report
from backends.errors import Broken, Invalid, Unavailable, Unsupported
from backends.inprocess.executor import Executor, on_loop
from backends.inprocess.hub import Hub
from backends.types import Event, Request, Segment, Speech, Transcribe, Word
from backends.whisper.audio import SAMPLE_RATE, Samples, decode
from backends.whisper.model import Whisper, device_for, load
from backends.whisper.timeline import Timeline

# Shorter clips fit one window; looking for speech in them first only loses some of it.
WINDOW_SECONDS = 30.0
# Segments that may wait for a slow reader, so that the model turns to the next caller meanwhile.
AHEAD = 4096


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A model and the one thread in which its callers take turns."""

    whisper: Whisper
    turns: Executor


class WhisperBackend:
    """Whisper on CTranslate2. Serves Transcribe: one Speech, then a Segment for each stretch of speech."""

    def __init__(self, spec: EngineSpec, hub: Hub | None = None) -> None:
        self._spec = spec
        self._hub = hub or Hub()
        self._loading = Executor(f"{spec.name}, loading")
        self._decoding = Executor(f"{spec.name}, reading audio", workers=2)
        self._models: dict[ModelSpec, _Loaded] = {}
        self._one_load = asyncio.Lock()

    async def load(self, model: ModelSpec, report: Report) -> None:
        """Find, convert and load the model, unless it is. Raises Unavailable with the way out."""
        async with self._one_load:
            if model not in self._models:
                whisper = await self._loading.call(load, model, self._spec, self._hub, on_loop(report))
                self._models[model] = _Loaded(whisper, Executor(model.label))

    async def unload(self, model: ModelSpec) -> None:
        """Take no more requests for the model, let those accepted end, and free it."""
        loaded = self._models.pop(model, None)
        if loaded is not None:
            await loaded.turns.close(finish=True)

    async def health(self) -> Health:
        """Whether the device that the engine is configured for is there."""
        try:
            device_for(self._spec)
        except Unavailable as error:
            return Health(False, error.message)
        return Health(True)

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """Speech, then segments. Raises Invalid for wrong options, MediaRefused for wrong files, Unavailable if not loaded."""
        if not isinstance(request, Transcribe):
            raise Unsupported(f"{model.label} transcribes speech and does nothing else.", param="model")
        loaded = self._models.get(model)
        if loaded is None:
            raise Unavailable(f"{model.label} is not loaded.")
        check(loaded.whisper, model.label, request)
        samples = await self._decode(request.audio)
        async with aclosing(
            loaded.turns.stream(partial(transcribe, loaded.whisper, request, samples), ahead=AHEAD)
        ) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """Stop what runs at its next segment and free every model."""
        models, self._models = self._models, {}
        for executor in (self._loading, self._decoding, *(loaded.turns for loaded in models.values())):
            await executor.close()

    async def _decode(self, audio: bytes) -> Samples:
        left = threading.Event()
        try:
            return await self._decoding.call(
                decode, audio, max_seconds=self._spec.max_audio_seconds, stopped=left.is_set
            )
        finally:
            left.set()


def check(whisper: Whisper, name: str, request: Transcribe) -> None:
    """Refuse what the model cannot do. Raises Unsupported and Invalid."""
    if request.task == "translate" and not whisper.multilingual:
        raise Unsupported(f"{name} knows English only and cannot translate; use a multilingual model.", param="model")
    if request.language is None or request.language in whisper.languages:
        return
    accepted = ", ".join(sorted(whisper.languages))
    if not whisper.multilingual:
        raise Unsupported(
            f"{name} knows English only, not {request.language!r}; accepted: {accepted}.", param="language"
        )
    raise Invalid(
        f"{request.language!r} is no language code that {name} knows; accepted: {accepted}.", param="language"
    )


def transcribe(
    whisper: Whisper, request: Transcribe, samples: Samples, _: threading.Event
) -> Generator[Speech | Segment, None, None]:
    """The events of one request, decoded as they are asked for. Blocks. Raises Broken when the device gives up."""
    duration = len(samples) / SAMPLE_RATE
    timeline = Timeline(0.0, duration)
    try:
        segments, info = whisper.engine.transcribe(
            samples,
            task=request.task,
            language=request.language,
            initial_prompt=request.prompt or None,
            word_timestamps=request.words,
            vad_filter=duration > WINDOW_SECONDS,
            **({} if request.temperatures is None else {"temperature": request.temperatures}),
        )
        detected = whisper.multilingual and request.language is None
        yield Speech(info.language, duration, float(info.language_probability) if detected else None)
        for number, segment in enumerate(segments):
            yield _segment(number, segment, timeline)
    except RuntimeError as error:
        raise Broken("Whisper failed while decoding; its log says why.") from error


def _segment(number: int, raw: RawSegment, timeline: Timeline) -> Segment:
    start, end = timeline.place(raw.start, raw.end)
    within = Timeline(start, end)
    return Segment(
        id=number,
        seek=raw.seek,
        start=start,
        end=end,
        text=raw.text,
        tokens=tuple(raw.tokens),
        temperature=float(raw.temperature),
        avg_logprob=float(raw.avg_logprob),
        compression_ratio=float(raw.compression_ratio),
        no_speech_prob=float(raw.no_speech_prob),
        words=tuple(
            Word(word.word.strip(), *within.place(word.start, word.end), float(word.probability))
            for word in raw.words or ()
        ),
    )
