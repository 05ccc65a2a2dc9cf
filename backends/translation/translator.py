"""One loaded model that requests share: their sentences wait among one another's, their translations come in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from backends.inprocess.batcher import Batcher
from backends.inprocess.executor import Executor
from backends.translation.decoding import Decoding
from backends.translation.family import Framed
from backends.translation.pipeline import Part, Pipeline, Plan
from backends.translation.segment import Sentence, join
from backends.types import Translate, Translated

T = TypeVar("T")
P = ParamSpec("P")

# What takes less time to do at once than to ask another thread for.
_FEW_CHARACTERS = 1000
_FEW_SENTENCES = 100
# Parts that are read in one go, when they are gaps for the most part.
_MOST_PARTS = 4096


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A part of a text, and its translation to come if there is something to translate."""

    part: Part
    translation: asyncio.Future[str] | None


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
            name,
            pipeline.search,
            max_batch=max_batch,
            max_wait_ms=max_wait_ms,
            limit=lambda options: options.batch_size,
        )

    @property
    def waiting(self) -> int:
        """How many sentences wait for their turn."""
        return self._batcher.waiting

    @property
    def probe(self) -> Translate:
        """A tiny request that the model can surely serve."""
        return self._pipeline.probe

    def plan(self, request: Translate) -> Plan:
        """Check a request against the model, without running it. Raises Invalid(param)."""
        return self._pipeline.plan(request)

    async def translate(
        self, texts: Sequence[str], plan: Plan, done: Callable[[float], None]
    ) -> AsyncGenerator[Translated, None]:
        """Each text's translation, in order, once it is there; done is told how many characters are, as they come.

        Closing it drops what waits. Raises Broken, and Unavailable when memory runs out or the model is being unloaded.
        """
        index, sentences, translations = 0, list[Sentence](), list[str]()
        async with aclosing(self._answers(texts, plan, done)) as answers:
            async for part, translation in answers:
                if not part.last:
                    sentences.append(part.sentence)
                    translations.append(translation)
                    continue
                text = await self._apart(len(sentences) > _FEW_SENTENCES, join, sentences, translations)
                yield Translated(index, text, plan.pair.source, plan.pair.target)
                index, sentences, translations = index + 1, [], []

    async def close(self) -> None:
        """Fail what waits, and wait for the batch that runs."""
        await self._batcher.close()

    async def _answers(
        self, texts: Sequence[str], plan: Plan, done: Callable[[float], None]
    ) -> AsyncGenerator[tuple[Part, str], None]:
        """The parts of the texts in order, each with its translation.

        However long the texts, no more than three batches of their sentences wait: these fill every batch, if nobody else
        is there.
        """
        parts, many = self._pipeline.read(texts, plan), sum(map(len, texts)) > _FEW_CHARACTERS
        ahead, owner, more = deque[_Ahead](), object(), True
        try:
            while more or ahead:
                if more and len(ahead) <= 2 * self._max_batch:
                    group = await self._apart(many, self._take, parts)
                    ahead += self._submitted(owner, group, plan.decoding)
                    more = bool(group)
                    continue
                first = ahead.popleft()
                translation = await first.translation if first.translation is not None else ""
                done(len(first.part.sentence.text) + len(first.part.sentence.gap))
                yield first.part, translation
        finally:
            for left in ahead:
                if left.translation is not None:
                    left.translation.cancel()

    async def _apart(self, long: bool, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """fn's result, from another thread when it takes long."""
        return await self._preparing.call(fn, *args, **kwargs) if long else fn(*args, **kwargs)

    def _take(self, parts: Iterator[Part]) -> list[Part]:
        """The next parts: a batch of sentences, with the gaps between them."""
        group, sentences = list[Part](), 0
        for part in parts:
            group.append(part)
            sentences += part.framed is not None
            if sentences == self._max_batch or len(group) == _MOST_PARTS:
                break
        return group

    def _submitted(self, owner: object, group: Sequence[Part], decoding: Decoding) -> Iterator[_Ahead]:
        translations = iter(self._batcher.submit(owner, decoding, [part.framed for part in group if part.framed]))
        return (_Ahead(part, next(translations) if part.framed else None) for part in group)
