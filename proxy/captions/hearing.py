"""Audio cut into utterances as it comes: those that have ended, and the one under way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from backends.inprocess.audio import SAMPLE_RATE, Samples
from backends.inprocess.executor import Executor
from proxy.captions.detector import STEP, Detector
from proxy.captions.endpoints import Endpointer, Span

WAITING_SECONDS = 60.0
"""Of utterances that wait for the model: beyond them no more audio is read."""
FLOAT = np.dtype(np.float32).itemsize
STEP_SECONDS = STEP / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is said without a pause. number: from 1; start: seconds from the beginning of the stream."""

    number: int
    start: float
    samples: Samples

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / SAMPLE_RATE


class Hearing:
    """Listens to one stream. ended: utterances in order, to be taken off with done(); over: no more will come.

    news: set whenever more was heard; some_ended: set whenever an utterance has ended.
    """

    def __init__(self, threads: Executor, max_seconds: float) -> None:
        self._threads = threads
        self._max_samples = int(max_seconds * SAMPLE_RATE)
        self._endpointer = Endpointer()
        self._tail = bytearray()
        self._tail_from = 0
        self._waiting = 0.0
        self._room = asyncio.Event()
        self.count = 0
        self.ended: deque[Utterance] = deque()
        self.over = False
        self.news = asyncio.Event()
        self.some_ended = asyncio.Event()

    @property
    def seconds(self) -> float:
        """Of audio heard."""
        return self._heard / SAMPLE_RATE

    @property
    def voiced(self) -> float:
        """Seconds for which the utterance under way has lasted; 0 = there is none."""
        return self._endpointer.voiced * STEP_SECONDS

    @property
    def under_way(self) -> Utterance:
        """What may belong to the utterance under way so far; it has the number that comes next."""
        return self._utterance(self.count + 1, Span(self._endpointer.needed_from, self._endpointer.heard))

    def done(self) -> None:
        """The first of those that have ended needs no more work."""
        self._waiting -= self.ended.popleft().seconds
        self._room.set()

    async def listen(self, audio: AsyncGenerator[Samples, None]) -> bool:
        """Hear all of it, no faster than utterances are done; False when it was longer than allowed, and cut off there."""
        detector = await self._threads.call(Detector)
        whole = True
        async with aclosing(audio):
            async for samples in audio:
                room = self._max_samples - self._heard
                whole = len(samples) <= room
                self._tail += samples[:room].tobytes()
                await self._judge(detector)
                if not whole:
                    break
                while self._waiting > WAITING_SECONDS:
                    self._room.clear()
                    await self._room.wait()
        self._tail += bytes(-self._heard % STEP * FLOAT)
        await self._judge(detector)
        self._end(self._endpointer.finish())
        self.over = True
        self.news.set()
        return whole

    @property
    def _heard(self) -> int:
        return self._tail_from + len(self._tail) // FLOAT

    async def _judge(self, detector: Detector) -> None:
        """Find utterances in what has come, and forget what is in none."""
        steps = self._heard // STEP
        if steps > self._endpointer.heard:
            samples = self._samples(Span(self._endpointer.heard, steps))
            self._end(self._endpointer.feed(await self._threads.call(detector.probabilities, samples)))
            gone = self._endpointer.needed_from * STEP - self._tail_from
            del self._tail[: gone * FLOAT]
            self._tail_from += gone
            self.news.set()

    def _end(self, spans: list[Span]) -> None:
        for span in spans:
            self.count += 1
            utterance = self._utterance(self.count, span)
            self.ended.append(utterance)
            self._waiting += utterance.seconds
            self.some_ended.set()

    def _utterance(self, number: int, span: Span) -> Utterance:
        return Utterance(number, span.start * STEP_SECONDS, self._samples(span))

    def _samples(self, span: Span) -> Samples:
        begin, end = ((step * STEP - self._tail_from) * FLOAT for step in (span.start, span.end))
        return np.frombuffer(bytes(self._tail[begin:end]), np.float32)
