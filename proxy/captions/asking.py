"""What captions ask of models: what an utterance says, and what that is in another language."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

from backends.errors import Overloaded, Unavailable
from backends.inprocess.executor import Executor
from backends.types import Segment, Speech, Translate, Translated
from proxy.captions.audio import wav
from proxy.captions.hearing import Utterance
from proxy.captions.wiring import Plan, Run

TRIES = 6
REST_SECONDS = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Said:
    """What an utterance says. language: None = the model does not tell."""

    segments: tuple[Segment, ...]
    language: str | None

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(segment.text for segment in self.segments).strip()


class Models:
    """Asks what the plan names at the time. run: a request as a model's events; threads: for what computes."""

    def __init__(self, plan: Callable[[], Awaitable[Plan]], run: Run, threads: Executor) -> None:
        self._plan = plan
        self._run = run
        self._threads = threads

    async def said(self, utterance: Utterance, *, before: str, words: bool) -> Said:
        """before: the text of the last utterance, for models that are to know it; words: with their times."""
        entry, request = (await self._plan()).speech
        request = replace(request, audio=await self._threads.call(wav, utterance.samples), words=words)
        if request.condition_on_previous_text:
            request = replace(request, prompt=" ".join(filter(None, (request.prompt, before))) or None)
        segments, language = [], request.language
        async with aclosing(self._run(entry, request)) as events:
            async for event in events:
                match event:
                    case Segment():
                        segments.append(event)
                    case Speech():
                        language = event.language
        return Said(tuple(segments), "en" if request.task == "translate" else language)

    async def translated(self, text: str, language: str | None) -> tuple[str, Translate] | None:
        """The text in the target language, and how that was asked for; None where there is none, or it is the text's own."""
        wanted = (await self._plan()).translate
        if wanted is None:
            return None
        entry, request = wanted
        request = replace(request, texts=(text,), source=request.source or language)
        if request.source == request.target:
            return None
        async with aclosing(self._run(entry, request)) as events:
            return "".join([event.text async for event in events if isinstance(event, Translated)]), request


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """What an attempt comes to, made again while the model is busy, or says when to come back. Raises BackendError."""
    for _ in range(TRIES - 1):
        try:
            return await attempt()
        except (Overloaded, Unavailable) as error:
            if isinstance(error, Unavailable) and error.retry_after is None:
                raise
            await asyncio.sleep(error.retry_after or REST_SECONDS)
    return await attempt()
