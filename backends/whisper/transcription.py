"""One request from samples to segments: its windows run in batches shared with other requests and come out in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import numpy as np

from backends.errors import BackendError, Broken
from backends.inprocess.audio import SAMPLE_RATE, Samples
from backends.inprocess.batcher import Batcher
from backends.inprocess.executor import Executor
from backends.inprocess.ordered import in_order
from backends.types import Segment, Speech, Transcribe
from backends.whisper.cutting import Cut, cut
from backends.whisper.decoding import Align, Aligned, Decode, Features, Heard, Job, Key, Result, Transcript, Window
from backends.whisper.fallback import Attempt, accepted, best, compression_ratio, silent
from backends.whisper.listening import Recording
from backends.whisper.model import FRAMES_PER_SECOND, Whisper
from backends.whisper.options import options_of
from backends.whisper.passages import Passage, passages
from backends.whisper.prompts import previous, text_before, words_to_expect
from backends.whisper.segments import Said, placed, segment, spoken, with_logprobs, with_words
from backends.whisper.timeline import Timeline
from backends.whisper.windows import window_size

WhisperBatcher: TypeAlias = Batcher[Key, Job, Result]

# Passages of one request under way at a time: enough for full batches, few enough that an hour-long file holds the
# features of some minutes only.
SIDE_BY_SIDE = 16
# The text of a window decoded hotter than this is no help to the next.
TRUSTED = 0.5


@dataclass(frozen=True, slots=True)
class Engine:
    """A loaded model and what its requests share. preparing: threads that look for speech and compute features."""

    name: str
    whisper: Whisper
    batcher: WhisperBatcher
    preparing: Executor


class Transcription:
    """Runs one request. Its passages are decoded side by side, the windows of a passage one after the other.

    settled: told of the seconds of audio that need no more work, as they come. Raises Invalid for wrong options.
    """

    def __init__(self, engine: Engine, request: Transcribe, settled: Callable[[float], None]) -> None:
        self._engine = engine
        self._request = request
        self._settled = settled
        self._options = options_of(request)
        whisper = engine.whisper
        self._text = whisper.tokenizer("en", request.task)
        self._expected = words_to_expect(self._text, request.hotwords)
        self._before = text_before(self._text, request.prompt)
        self._language: asyncio.Future[tuple[str, float | None]] = asyncio.get_running_loop().create_future()
        if not whisper.multilingual or request.language is not None:
            self._language.set_result((request.language or "en", None))

    async def events(self, recording: Recording) -> AsyncGenerator[Speech | Segment, None]:
        """Speech, then segments in order, each as soon as it is settled. Raises Broken when the model fails."""
        duration = recording.seconds
        announced = self._language.done()
        if announced:
            yield self._speech(duration)
        together = self._options.condition_on_previous_text
        parts = passages(recording, window=self._engine.whisper.window, together=together)
        self._settled(duration - sum(len(part.samples) for part in parts) / SAMPLE_RATE)
        if not parts and not announced:
            await self._decode(await self._features(recording.begin), ())
        timeline = Timeline(0.0, duration)
        streams = [self._passage(part, first=number == 0) for number, part in enumerate(parts)]
        number = 0
        async with aclosing(in_order(streams, side_by_side=SIDE_BY_SIDE)) as segments:
            async for found in segments:
                if not announced:
                    announced = True
                    yield self._speech(duration)
                yield placed(found, number, timeline)
                number += 1
        if not announced:
            yield self._speech(duration)

    def _speech(self, duration: float) -> Speech:
        language, probability = self._language.result()
        return Speech(language, duration, probability)

    async def _passage(self, passage: Passage, *, first: bool) -> AsyncGenerator[Segment, None]:
        """The segments of a passage, in order. Only the first one finds out the language; others wait for it."""
        if not first:
            await self._language
        features = await self._features(passage.samples)
        history, rounded, spoken_until, seek = self._before, False, 0.0, 0
        while seek < features.shape[1]:
            size = window_size(features[:, seek:], self._engine.whisper.longest)
            before = previous(self._text, self._expected, history, rounded=rounded)
            attempt, temperature = await self._decode(features[:, seek : seek + size], before)
            if silent(attempt, self._options):
                seek += size
                continue
            offset = seek / FRAMES_PER_SECOND
            found = cut(attempt.heard.tokens, first_stamp=self._text.timestamp_begin, frames=size)
            said = await self._said(attempt.heard, found, size, spoken_until - offset)
            for one in said:
                yield segment(self._text, one, attempt, passage, offset)
            spoken_until = max([spoken_until, *(offset + word.end for one in said for word in one.words)])
            if self._options.condition_on_previous_text:
                history = [*history, *(token for one in said for token in one.piece.tokens)]
                history, rounded = (history, True) if temperature <= TRUSTED else ([], False)
            seek += found.frames
        self._settled(len(passage.samples) / SAMPLE_RATE)

    async def _features(self, samples: Samples) -> Features:
        """[bands, frames] of 10 ms; the extractor adds one for good measure."""
        features = cast("Features", await self._engine.preparing.call(self._engine.whisper.log_mel, samples))
        return features[:, :-1]

    async def _decode(self, features: Features, before: tuple[int, ...]) -> tuple[Attempt, float]:
        """The attempt to be believed, and the temperature that was tried last."""
        language, _ = self._language.result() if self._language.done() else (None, None)
        frames = self._engine.whisper.frames(features.shape[1])
        window = Window(_padded(features, frames), before, self._request.task, language, self._request.languages)
        attempts: list[Attempt] = []
        for temperature in self._options.temperatures:
            heard = cast(
                "Heard", await self._run(self._key(frames, temperature, len(before), again=bool(attempts)), window)
            )
            if not self._language.done():
                self._language.set_result((heard.language, heard.language_probability))
            ratio = compression_ratio(self._text.decode(list(heard.tokens)).strip())
            attempts.append(Attempt(heard, temperature, ratio))
            if accepted(attempts[-1], self._options):
                return attempts[-1], temperature
            window = replace(window, features=heard.encoded, language=heard.language)
        return best(attempts, self._options), temperature

    def _key(self, frames: int, temperature: float, before: int, *, again: bool) -> Decode:
        """What the window's mates must share; options that this temperature does not use count for nothing."""
        options = self._options
        search = temperature == 0
        return Decode(
            frames=frames,
            previous=before,
            temperature=temperature,
            beam_size=options.beam_size if search else 1,
            patience=options.patience if search else 1.0,
            best_of=1 if search else options.best_of,
            length_penalty=options.length_penalty,
            again=again,
        )

    async def _said(self, heard: Heard, found: Cut, size: int, silent_until: float) -> list[Said]:
        """The window's segments that say something, with what is wanted of them; what is wanted changes no text."""
        said = spoken(self._text, found.pieces)
        if not said or not (self._request.words or self._request.logprobs):
            return said
        tokenizer = self._engine.whisper.tokenizer(heard.language, self._request.task)
        tokens = tuple(token for one in said for token in one.text_tokens)
        key = Align(self._engine.whisper.frames(size), tuple(tokenizer.sot_sequence))
        aligned = cast("Aligned", await self._run(key, Transcript(heard.encoded, tokens, size)))
        if self._request.logprobs:
            said = with_logprobs(tokenizer, said, aligned)
        return with_words(tokenizer, said, aligned, silent_until) if self._request.words else said

    async def _run(self, key: Key, job: Job) -> Result:
        try:
            (result,) = await self._engine.batcher.run(self, key, [job])
        except BackendError:
            raise
        except Exception as error:
            raise Broken(f"{self._engine.name} failed while decoding.") from error
        return result


def _padded(features: Features, frames: int) -> Features:
    """A window's features with what is for silence after them."""
    return np.pad(features, ((0, 0), (0, frames - features.shape[1]))).astype(np.float32, copy=False)
