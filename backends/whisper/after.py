"""What follows transcription on request: word times by forced alignment, and who says what."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from backends.base import EngineSpec
from backends.errors import Unsupported
from backends.inprocess.audio import Samples
from backends.inprocess.executor import Executor
from backends.inprocess.hub import Hub
from backends.types import Diarize, Event, Segment, Speech, Transcribe
from backends.whisper.align import Aligner
from backends.whisper.diarize import Diarizer
from backends.whisper.diarize_assign import assign
from backends.whisper.diarize_names import Turn


class After:
    """Refines the segments of a request. Aligning and diarizing have a thread each, so neither waits for the other."""

    def __init__(self, spec: EngineSpec, hub: Hub | None = None) -> None:
        self._aligner = Aligner(spec, hub)
        self._diarizer = Diarizer(spec)
        self._aligning = Executor(f"{spec.name}, aligning words")
        self._diarizing = Executor(f"{spec.name}, telling speakers apart")

    def check(self, request: Transcribe) -> None:
        """Refuse, before any work, what cannot be done here. Raises Unsupported and Invalid."""
        if request.align and request.task == "translate":
            raise Unsupported(
                "The words of a translation are not the ones spoken and cannot be aligned; leave align out.",
                param="align",
            )
        if request.align:
            self._aligner.check(request.language)
        if request.diarize is not None:
            self._diarizer.check(request.diarize)

    async def finish(
        self, events: AsyncIterator[Event], samples: Samples, request: Transcribe
    ) -> AsyncGenerator[Event, None]:
        """The events of one request, its segments refined as they come: when speakers are wanted, once those are known.

        events are those of `asked(request)`. Raises Unsupported when no model aligns the detected language, MediaRefused for
        samples of known voices that are none, Unavailable and Broken as the models' own.
        """
        language = request.language or ""
        number = 0
        async with self._turns(samples, request.diarize) as turns:
            async for event in events:
                if isinstance(event, Speech):
                    language = event.language
                    if request.align:
                        self._aligner.check(language)
                if not isinstance(event, Segment):
                    yield event
                    continue
                segments = [event]
                if request.align:
                    segments = await self._aligning.call(self._aligner.align, samples, segments, language)
                for segment in assign(segments, await turns):
                    words = segment.words if request.words or request.align else ()
                    yield replace(segment, id=number, words=words)
                    number += 1
            await turns

    async def close(self) -> None:
        """Take no more work and wait for what runs."""
        await self._aligning.close()
        await self._diarizing.close()

    @asynccontextmanager
    async def _turns(
        self, samples: Samples, options: Diarize | None
    ) -> AsyncGenerator[asyncio.Future[Sequence[Turn]], None]:
        """The speakers' turns, sought while Whisper works; left off at the end of the block."""
        left = threading.Event()

        async def seek() -> Sequence[Turn]:
            if options is None:
                return ()
            return await self._diarizing.call(self._diarizer.speakers, samples, options, left.is_set)

        turns = asyncio.ensure_future(seek())
        try:
            yield turns
        finally:
            left.set()
            turns.cancel()
            await asyncio.gather(turns, return_exceptions=True)


def asked(request: Transcribe) -> Transcribe:
    """What to ask Whisper for: its own word times where none are aligned but words are wanted, if only to cut at speakers."""
    return replace(request, words=not request.align and (request.words or request.diarize is not None))
