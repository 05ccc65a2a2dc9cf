"""One loaded translation model: texts in, translations out, many sentences to a batch."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from threading import Event as Flag

from backends.translation.checkpoint import Checkpoint
from backends.translation.decoding import Decoding, checkpoint_decoding, choose
from backends.translation.engine import Engine
from backends.translation.family import Family, Framed, Pair
from backends.translation.segment import Document, Sentence, join, shorten, split
from backends.translation.tokenizer import Tokenizer
from backends.types import Translate, Translated

_BATCH_SENTENCES = 256
_LONGEST_SENTENCE = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request comes to on this model. max_input_tokens: of each text; what is beyond is left out."""

    pair: Pair
    decoding: Decoding
    max_input_tokens: int | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Text number `index`, its sentences, and each one as the model wants it."""

    index: int
    document: Document
    framed: tuple[Framed, ...]


class Pipeline:
    """A model ready to translate; blocking, for one thread at a time."""

    def __init__(self, checkpoint: Checkpoint, family: Family, tokenizer: Tokenizer, engine: Engine) -> None:
        self._family = family
        self._tokenizer = tokenizer
        self._engine = engine
        self._special = family.special
        self._room = checkpoint.room
        self._default = checkpoint_decoding(checkpoint.generation, checkpoint.room)
        # A translation may well be longer than its source: half of the model's room leaves it as much again.
        self._longest = min(checkpoint.room // 2, _LONGEST_SENTENCE)

    def plan(self, request: Translate) -> Plan:
        """Check a request against the model, without running it. Raises Invalid(param)."""
        decoding = choose(request, self._default, self._room)
        return Plan(self._family.pair(request.source, request.target), decoding, request.max_input_length)

    def translate(self, texts: Sequence[str], plan: Plan, stop: Flag) -> Generator[Translated, None, None]:
        """Each text's translation, in order; no new batch is begun once stop is set. Raises Broken."""
        prepared = (self._prepare(index, text, plan) for index, text in enumerate(texts))
        for group in _groups(prepared):
            answers = self._search([framed for item in group for framed in item.framed], plan.decoding, stop)
            for item in group:
                own = list(islice(answers, len(item.framed)))
                if stop.is_set():
                    return
                yield Translated(item.index, join(item.document, own), plan.pair.source, plan.pair.target)

    def _search(self, framed: Sequence[Framed], decoding: Decoding, stop: Flag) -> Iterator[str]:
        for start in range(0, len(framed), _BATCH_SENTENCES):
            if stop.is_set():
                return
            for pieces in self._engine.search(framed[start : start + _BATCH_SENTENCES], decoding):
                yield self._tokenizer.text([piece for piece in pieces if piece not in self._special])

    def _prepare(self, index: int, text: str, plan: Plan) -> Prepared:
        document = split(text)
        sentences, framed, left = list[Sentence](), list[Framed](), plan.max_input_tokens
        for sentence, pieces in self._pieces(document.sentences):
            if left is not None and len(pieces) >= left:
                sentences.append(replace(sentence, gap="" if len(pieces) > left else sentence.gap))
                framed.append(self._family.frame(pieces[:left], plan.pair))
                break
            left = None if left is None else left - len(pieces)
            sentences.append(sentence)
            framed.append(self._family.frame(pieces, plan.pair))
        return Prepared(index, Document(document.lead, tuple(sentences)), tuple(framed))

    def _pieces(self, sentences: Sequence[Sentence]) -> Iterator[tuple[Sentence, list[str]]]:
        for sentence in sentences:
            pieces = self._tokenizer.pieces(sentence.text)
            if len(pieces) <= self._longest:
                yield sentence, pieces
                continue
            for part in shorten(sentence, lambda text: len(self._tokenizer.pieces(text)) <= self._longest):
                yield part, self._tokenizer.pieces(part.text)


def _groups(prepared: Iterator[Prepared]) -> Iterator[list[Prepared]]:
    """Texts in order, as many together as make about one batch; a long text is a group of its own."""
    group, sentences = list[Prepared](), 0
    for item in prepared:
        if group and sentences + len(item.framed) > _BATCH_SENTENCES:
            yield group
            group, sentences = [], 0
        group.append(item)
        sentences += len(item.framed)
    if group:
        yield group
