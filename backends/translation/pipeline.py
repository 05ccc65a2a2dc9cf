"""One loaded translation model: texts to sentences as it wants them, sentences to their translations."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from backends.translation.checkpoint import Checkpoint
from backends.translation.decoding import Decoding, checkpoint_decoding, choose
from backends.translation.engine import Engine
from backends.translation.family import Family, Framed, Pair
from backends.translation.segment import Document, Sentence, shorten, split
from backends.translation.tokenizer import Tokenizer
from backends.types import Translate

_LONGEST_SENTENCE = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request comes to on this model. max_input_tokens: of each text; what is beyond is left out."""

    pair: Pair
    decoding: Decoding
    max_input_tokens: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """A sentence of a text, as it stands there and as the model wants it."""

    sentence: Sentence
    framed: Framed


class Pipeline:
    """A model ready to translate; blocking. Texts may be prepared in one thread while another searches."""

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

    def prepare(self, texts: Sequence[str], plan: Plan) -> Iterator[Part | Document]:
        """Of each text its parts, one by one as they are asked for, and behind them the document that they make."""
        for text in texts:
            yield from self._parts(split(text), plan)

    def search(self, decoding: Decoding, sentences: Sequence[Framed]) -> list[str]:
        """Each sentence's translation. Raises Broken, and RuntimeError when the memory is too small for so many at once."""
        return [
            self._tokenizer.text([piece for piece in pieces if piece not in self._special])
            for pieces in self._engine.search(sentences, decoding)
        ]

    def _parts(self, document: Document, plan: Plan) -> Generator[Part | Document, None, None]:
        sentences, left = list[Sentence](), plan.max_input_tokens
        for sentence, pieces in self._pieces(document.sentences):
            cut = left is not None and len(pieces) > left
            sentences.append(replace(sentence, gap="") if cut else sentence)
            yield Part(sentence, self._family.frame(pieces[:left], plan.pair))
            left = None if left is None else left - len(pieces)
            if left is not None and left <= 0:
                break
        yield Document(document.lead, tuple(sentences))

    def _pieces(self, sentences: Sequence[Sentence]) -> Iterator[tuple[Sentence, list[str]]]:
        for sentence in sentences:
            pieces = self._tokenizer.pieces(sentence.text)
            if len(pieces) <= self._longest:
                yield sentence, pieces
                continue
            for part in shorten(sentence, lambda text: len(self._tokenizer.pieces(text)) <= self._longest):
                yield part, self._tokenizer.pieces(part.text)
