"""One stream of audio, captioned: utterances while they last, once they end, and in another language."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial

from backends.errors import BackendError, Invalid
from backends.inprocess.audio import Samples
from proxy.captions.agreement import Agreement
from proxy.captions.asking import Models, Said, patiently
from proxy.captions.hearing import Hearing, Utterance
from proxy.captions.pacing import look_in
from proxy.captions.wiring import Fail, Tell
from proxy.errors import ApiError, from_backend
from proxy.events.values import CaptionFinal, CaptionPartial, CaptionTranslated, CaptionWord

UNTRANSLATED = 16
"""Finals that may wait to be translated, before others wait to become final."""


class Stream:
    """Runs one stream. Finals are never left out and come in order; where time is short, looks at what is not final are.

    tell: takes what listeners are told; fail: takes errors that the stream survives.
    """

    def __init__(self, name: str, hearing: Hearing, models: Models, tell: Tell, fail: Fail) -> None:
        self._name = name
        self._hearing = hearing
        self._models = models
        self._tell = tell
        self._fail = fail
        self._agreement = Agreement()
        self._looked_at = 0
        self._looked_until = 0.0
        self._looked_when = float("-inf")
        self._said = ""
        self._untranslated: asyncio.Queue[CaptionFinal | None] = asyncio.Queue(UNTRANSLATED)

    async def run(self, audio: AsyncGenerator[Samples, None]) -> bool:
        """Caption the audio to its end; False when it was cut off there for being too long.

        Raises ApiError or BackendError when it cannot go on.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._hearing.listen(audio))
                tasks.create_task(self._caption())
                tasks.create_task(self._translate())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return listening.result()

    async def _caption(self) -> None:
        """Finals as soon as they are due; looks at what is being said in the time between."""
        hearing, clock = self._hearing, asyncio.get_running_loop()
        while not hearing.over or hearing.ended:
            hearing.news.clear()
            if hearing.ended:
                await self._finish(hearing.ended[0])
                hearing.done()
                continue
            wait = look_in(hearing.voiced, hearing.seconds - self._looked_until, clock.time() - self._looked_when)
            if wait == 0:
                self._looked_until = hearing.seconds
                await self._look(hearing.under_way)
                self._looked_when = clock.time()
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await hearing.news.wait()
        await self._untranslated.put(None)

    async def _look(self, utterance: Utterance) -> None:
        """Tell what the utterance under way seems to say, unless one ends before the model is through."""
        self._hearing.some_ended.clear()
        looking = asyncio.ensure_future(self._models.said(utterance, before=self._said, words=False))
        ending = asyncio.ensure_future(self._hearing.some_ended.wait())
        try:
            await asyncio.wait({looking, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            looking.cancel()
            ending.cancel()
            # Whatever went wrong goes wrong again for the final, which is told of it.
            seen, _ = await asyncio.gather(looking, ending, return_exceptions=True)
        if not isinstance(seen, Said) or not seen.text:
            return
        if self._looked_at != utterance.number:
            self._looked_at, self._agreement = utterance.number, Agreement()
        shown = self._agreement.look(seen.text)
        self._tell(
            CaptionPartial(
                stream_id=self._name,
                segment_id=_segment(utterance),
                text=shown,
                stable=self._agreement.stable,
                start=round(utterance.start, 3),
                end=round(utterance.start + utterance.seconds, 3),
            )
        )

    async def _finish(self, utterance: Utterance) -> None:
        """Tell what was said; nothing where nothing was, and nobody has been told otherwise."""
        said = await patiently(partial(self._models.said, utterance, before=self._said, words=True))
        if not said.text and self._looked_at != utterance.number:
            return
        final = _final(self._name, utterance, said)
        self._tell(final)
        if said.text:
            self._said = said.text
            await self._untranslated.put(final)

    async def _translate(self) -> None:
        """Finals in the target language, one after the other; an error there ends no caption."""
        refused = False
        while (final := await self._untranslated.get()) is not None:
            if refused:
                continue
            try:
                translated = await patiently(partial(self._models.translated, final.text, final.language))
            except (ApiError, BackendError) as error:
                # What is wrong with a language or an option is wrong with it for every sentence.
                refused = isinstance(error, Invalid | ApiError)
                self._fail(from_backend(error) if isinstance(error, BackendError) else error)
                continue
            if translated is not None:
                text, asked = translated
                self._tell(
                    CaptionTranslated(
                        stream_id=self._name,
                        segment_id=final.segment_id,
                        text=text,
                        source_language=asked.source,
                        target_language=asked.target,
                    )
                )


def _segment(utterance: Utterance) -> str:
    return f"seg_{utterance.number}"


def _final(stream: str, utterance: Utterance, said: Said) -> CaptionFinal:
    """The final: as long as somebody spoke, with its words' times, all in the stream."""
    at = utterance.start
    return CaptionFinal(
        stream_id=stream,
        segment_id=_segment(utterance),
        text=said.text,
        start=round(at, 3),
        end=round(at + utterance.seconds, 3),
        words=tuple(
            CaptionWord(
                text=word.text,
                start=round(at + word.start, 3),
                end=round(at + word.end, 3),
                probability=round(word.probability, 3),
            )
            for segment in said.segments
            for word in segment.words
        ),
        language=said.language,
    )
