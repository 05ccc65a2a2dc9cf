"""One loaded model that requests share: their sentences wait among one another's, their translations come in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice

from backends.inprocess.batcher import Batcher
from backends.inprocess.executor import Executor
from backends.translation.decoding import Decoding
from backends.translation.family import Framed
from backends.translation.pipeline import Part, Pipeline, Plan
from backends.translation.segment import Document, join
from backends.types import Translate, Translated

# Characters that are cut into pieces sooner than another thread could be asked to.
_FEW = 1000


@dataclass(frozen=True, slots=True)
class _Awaited:
    """A sentence's translation to come. cost: the sentence's characters."""

    translation: asyncio.Future[str]
    cost: int


class Translator:
    """Runs a pipeline for many requests: sentences of equal options share a batch, whatever their languages.

    preparing: where long texts are cut into sentences and pieces. max_batch: sentences; max_wait_ms: for mates.
    """

    def __init__(
        self, name: str, pipeline: Pipeline, preparing: Executor, *, max_batch: int, max_wait_ms: float
    ) -> None:
        self._pipeline = pipeline
        self._preparing = preparing
        self._max_batch = max_batch
        self._batcher: Batcher[Decoding, Framed, str] = Batcher(
            name, pipeline.search, max_batch=max_batch, max_wait_ms=max_wait_ms
        )

    @property
    def waiting(self) -> int:
        """How many sentences wait for their turn."""
        return self._batcher.waiting

    def plan(self, request: Translate) -> Plan:
        """Check a request against the model, without running it. Raises Invalid(param)."""
        return self._pipeline.plan(request)

    async def translate(
        self, texts: Sequence[str], plan: Plan, done: Callable[[float], None]
    ) -> AsyncGenerator[Translated, None]:
        """Each text's translation, in order, once it is there; done is told the characters of each sentence that is.

        Closing it drops what waits. Raises Broken, and Unavailable when memory runs out or the model is being unloaded.
        """
        index, translations = 0, list[str]()
        async with aclosing(self._answers(texts, plan, done)) as answers:
            async for answer in answers:
                if isinstance(answer, str):
                    translations.append(answer)
                    continue
                yield Translated(index, join(answer, translations), plan.pair.source, plan.pair.target)
                index, translations = index + 1, []

    async def close(self) -> None:
        """Fail what waits, and wait for the batch that runs."""
        await self._batcher.close()

    async def _answers(
        self, texts: Sequence[str], plan: Plan, done: Callable[[float], None]
    ) -> AsyncGenerator[str | Document, None]:
        """The translations of each text's sentences, then its document.

        However long the texts, no more than three batches of their sentences wait: these fill every batch, if nobody else
        is there.
        """
        parts, here = self._pipeline.prepare(texts, plan), sum(map(len, texts)) <= _FEW
        ahead, owner, more = deque[_Awaited | Document](), object(), True
        try:
            while more or ahead:
                if more and len(ahead) <= 2 * self._max_batch:
                    group = self._take(parts) if here else await self._preparing.call(self._take, parts)
                    more = len(group) == self._max_batch
                    ahead += self._submitted(owner, group, plan.decoding)
                    continue
                answer = ahead.popleft()
                if isinstance(answer, Document):
                    yield answer
                else:
                    yield await answer.translation
                    done(answer.cost)
        finally:
            for answer in ahead:
                if isinstance(answer, _Awaited):
                    answer.translation.cancel()

    def _take(self, parts: Iterator[Part | Document]) -> list[Part | Document]:
        return list(islice(parts, self._max_batch))

    def _submitted(
        self, owner: object, group: Sequence[Part | Document], decoding: Decoding
    ) -> Iterator[_Awaited | Document]:
        jobs = [part.framed for part in group if isinstance(part, Part)]
        translations = iter(self._batcher.submit(owner, decoding, jobs))
        for part in group:
            yield part if isinstance(part, Document) else _Awaited(next(translations), len(part.sentence.text))
