"""Requests share batches, and none of them notices."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from backends.errors import Broken, Unavailable
from backends.inprocess.conversion import converted
from backends.inprocess.executor import Executor
from backends.translation.checkpoint import read_checkpoint
from backends.translation.decoding import Decoding
from backends.translation.engine import CTranslate2Engine
from backends.translation.family import Framed, detect
from backends.translation.pipeline import Pipeline
from backends.translation.tokenizer import open_tokenizer
from backends.translation.translator import Translator
from backends.types import Translate, Translated

WAIT = 10.0
MAX_BATCH = 8
PAIRS = {
    ("en", "fr", "My dog sleeps."): "Mon chien dort.",
    ("fr", "de", "Mon chien dort."): "Mein Hund schläft.",
    ("de", "es", "Mein Hund schläft."): "Mi perro duerme.",
    ("es", "en", "Mi perro duerme."): "My dog sleeps.",
}


@dataclass
class Gate:
    """An engine that computes when it may, notes each call, and lacks memory or fails as told."""

    engine: CTranslate2Engine
    go: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    calls: list[tuple[Decoding, list[Framed]]] = field(default_factory=list)
    fits: int = 1000
    bad: str = "nothing"

    @property
    def vocabulary(self) -> frozenset[str]:
        return self.engine.vocabulary

    @property
    def sizes(self) -> list[int]:
        return [len(sentences) for _, sentences in self.calls]

    def search(self, sentences: Sequence[Framed], decoding: Decoding) -> list[list[str]]:
        self.entered.set()
        assert self.go.wait(WAIT)
        self.calls.append((decoding, list(sentences)))
        if len(sentences) > self.fits:
            raise RuntimeError("CUDA failed with error out of memory")
        if any(self.bad in sentence.tokens for sentence in sentences):
            raise Broken("no such thing")
        return self.engine.search(sentences, decoding)


@pytest.fixture(scope="module")
def engine(nano: Path, store: Path) -> CTranslate2Engine:
    kept = converted(nano, store=store / "converted", quantization="int8", copy=(), report=lambda _: None)
    return CTranslate2Engine(kept, device="cpu", compute_type="int8")


@pytest.fixture
def gate(engine: CTranslate2Engine) -> Gate:
    return Gate(engine)


@pytest.fixture
def pipeline(nano: Path, gate: Gate) -> Pipeline:
    checkpoint, tokenizer = read_checkpoint("nano", nano, gate.vocabulary), open_tokenizer(nano)
    return Pipeline(checkpoint, detect(checkpoint, tokenizer.pieces), tokenizer, gate)


@pytest.fixture
async def translator(pipeline: Pipeline, gate: Gate) -> AsyncIterator[Translator]:
    preparing = Executor("preparing")
    translator = Translator("nano", pipeline, preparing, max_batch=MAX_BATCH, max_wait_ms=0)
    yield translator
    gate.go.set()
    await translator.close()
    await preparing.close()


async def answered(translator: Translator, request: Translate) -> list[str]:
    events = translator.translate(request.texts, translator.plan(request), lambda _: None)
    return [event.text async for event in events]


async def translated(translator: Translator, *texts: str, source: str = "en", target: str = "fr") -> list[str]:
    return await answered(translator, Translate(texts=texts, source=source, target=target))


async def busy(translator: Translator, gate: Gate) -> asyncio.Task[list[str]]:
    """A request whose batch runs until the gate opens."""
    task = asyncio.create_task(translated(translator, "The cat drinks water."))
    assert await asyncio.to_thread(gate.entered.wait, WAIT)
    return task


async def waiting(translator: Translator, count: int) -> None:
    """Until so many sentences wait for their turn."""
    async with asyncio.timeout(WAIT):
        while translator.waiting < count:  # noqa: ASYNC110 - a count that announces nothing
            await asyncio.sleep(0)


async def test_languages_of_different_requests_share_a_call(translator: Translator, gate: Gate) -> None:
    first = await busy(translator, gate)
    others = [
        asyncio.create_task(translated(translator, text, source=source, target=target))
        for source, target, text in PAIRS
    ]
    await waiting(translator, len(PAIRS))
    gate.go.set()
    assert await asyncio.gather(*others) == [[text] for text in PAIRS.values()]
    assert await first == ["Le chat boit l'eau."]
    assert gate.sizes == [1, len(PAIRS)]


async def test_a_request_may_have_its_sentences_in_smaller_calls(translator: Translator, gate: Gate) -> None:
    first = await busy(translator, gate)
    texts = tuple(text for source, _, text in PAIRS if source == "en") * 5
    small = Translate(texts=texts, source="en", target="fr", batch_size=2)
    task = asyncio.create_task(answered(translator, small))
    await waiting(translator, len(texts))
    gate.go.set()
    assert await task == ["Mon chien dort."] * 5
    await first
    assert gate.sizes == [1, 2, 2, 1]


async def test_each_request_has_its_own_options(translator: Translator, gate: Gate) -> None:
    first = await busy(translator, gate)
    request = Translate(texts=("My dog sees my dog.",), source="en", target="fr")
    asked = [
        request,
        replace(request, max_new_tokens=2),
        replace(request, no_repeat_ngram_size=1),
        replace(request, beam_size=4),
        request,
    ]
    tasks = [asyncio.create_task(answered(translator, request)) for request in asked]
    await waiting(translator, len(asked))
    gate.go.set()
    usual, cut, unrepeated, beams, again = [text for (text,) in await asyncio.gather(*tasks)]
    assert usual == beams == again == "Mon chien voit mon chien."
    assert usual.startswith(cut)
    assert len(cut) < len(usual)
    assert unrepeated.count("chien") == 1
    assert sorted((decoding.beam_size, len(sentences)) for decoding, sentences in gate.calls[1:]) == [
        (1, 1),
        (1, 1),
        (1, 2),
        (4, 1),
    ]
    await first


async def test_a_small_request_beside_huge_ones_waits_a_batch_or_two(translator: Translator, gate: Gate) -> None:
    huge = [
        asyncio.create_task(translated(translator, *["My dog sleeps. " * 50] * 10)),
        asyncio.create_task(translated(translator, "The cat drinks water. " * 500)),
    ]
    await waiting(translator, 3 * MAX_BATCH)
    small = asyncio.create_task(translated(translator, "I see the red house."))
    await waiting(translator, translator.waiting + 1)
    gate.go.set()
    assert await small == ["Je vois la maison rouge."]
    assert len(gate.calls) <= 3
    many, one = await asyncio.gather(*huge)
    assert many == ["Mon chien dort. " * 50] * 10
    assert one == ["Le chat boit l'eau. " * 500]
    assert len(gate.calls) < 2 * sum(gate.sizes) / MAX_BATCH


async def test_however_long_a_text_only_a_few_batches_of_it_wait(translator: Translator, gate: Gate) -> None:
    task = asyncio.create_task(translated(translator, "My dog sleeps. " * 2000))
    assert await asyncio.to_thread(gate.entered.wait, WAIT)
    await waiting(translator, 2 * MAX_BATCH)
    assert translator.waiting <= 3 * MAX_BATCH
    gate.go.set()
    assert await task == ["Mon chien dort. " * 2000]


async def test_translations_come_as_batches_are_done(translator: Translator, gate: Gate) -> None:
    gate.go.set()
    texts = ["My dog sleeps."] * 100 * MAX_BATCH
    plan = translator.plan(Translate(texts=(), source="en", target="fr"))
    async with aclosing(translator.translate(texts, plan, lambda _: None)) as events:
        assert await anext(events) == Translated(0, "Mon chien dort.", "en", "fr")
        assert len(gate.calls) < 10


async def test_who_leaves_takes_waiting_sentences_along_and_disturbs_nobody(translator: Translator, gate: Gate) -> None:
    first = await busy(translator, gate)
    leaving = asyncio.create_task(translated(translator, "My dog sleeps. " * 2000))
    staying = asyncio.create_task(translated(translator, "I see the red house."))
    await waiting(translator, 3 * MAX_BATCH + 1)
    for task in (first, leaving):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    gate.go.set()
    assert await staying == ["Je vois la maison rouge."]
    assert gate.sizes == [1, 1]


async def test_short_memory_halves_batches(translator: Translator, gate: Gate) -> None:
    gate.fits = 2
    gate.go.set()
    assert await translated(translator, "My dog sleeps. " * 20) == ["Mon chien dort. " * 20]
    assert max(gate.sizes[1:]) <= MAX_BATCH
    assert set(gate.sizes[-4:]) == {2}


async def test_no_memory_for_even_one_sentence_says_when_to_come_again(translator: Translator, gate: Gate) -> None:
    gate.fits = 0
    gate.go.set()
    with pytest.raises(Unavailable, match="memory") as refused:
        await translated(translator, "My dog sleeps.")
    assert refused.value.retry_after


async def test_a_sentence_that_fails_fails_its_own_request_alone(translator: Translator, gate: Gate) -> None:
    first = await busy(translator, gate)
    gate.bad = "__es__"
    tasks = [
        asyncio.create_task(translated(translator, text, source=source, target=target))
        for source, target, text in PAIRS
    ]
    await waiting(translator, len(PAIRS))
    gate.go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [outcome if isinstance(outcome, list) else type(outcome) for outcome in outcomes] == [
        ["Mon chien dort."],
        ["Mein Hund schläft."],
        ["Mi perro duerme."],
        Broken,
    ]
    await first


async def test_done_is_told_the_characters_as_they_are_done(translator: Translator, gate: Gate) -> None:
    gate.go.set()
    text, told = "My dog sleeps.\nYes. 42", list[float]()
    plan = translator.plan(Translate(texts=(), source="en", target="fr"))
    assert len([event async for event in translator.translate([text], plan, told.append)]) == 1
    assert told == [len("My dog sleeps.\n"), len("Yes. "), len("42"), 0]
