"""One loaded translation model: texts to sentences as it wants them, sentences to their translations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from backends.errors import Invalid
from backends.translation.checkpoint import Checkpoint
from backends.translation.decoding import Decoding, checkpoint_decoding, choose
from backends.translation.engine import Engine
from backends.translation.family import Family, Framed, Pair
from backends.translation.segment import Sentence, shorten, split
from backends.translation.tokenizer import Tokenizer
from backends.types import Translate

MOST_TEXTS = 4096
MOST_CHARACTERS = 1_000_000
_LONGEST_SENTENCE = 256
_LONGEST_PIECE = 16  # characters; a piece of text that is longer is cut without being asked for its tokens


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request comes to on this model. max_input_tokens: of each text; what is beyond is left out."""

    pair: Pair
    decoding: Decoding
    max_input_tokens: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """A sentence of a text as it is written, and as the model wants it; None = nothing to translate.

    last: nothing of the text follows, not even the sentence, which is empty.
    """

    sentence: Sentence
    framed: Framed | None = None
    last: bool = False


class Pipeline:
    """A model ready to translate; blocking. One thread may read texts while another searches."""

    def __init__(self, checkpoint: Checkpoint, family: Family, tokenizer: Tokenizer, engine: Engine) -> None:
        self._family = family
        self._tokenizer = tokenizer
        self._engine = engine
        self._special = family.special
        self._room = checkpoint.room
        self._default = checkpoint_decoding(checkpoint.generation, checkpoint.room)
        # A translation may well be longer than its source: half of the model's room leaves it as much again.
        self._longest = min(checkpoint.room // 2, _LONGEST_SENTENCE)

    @property
    def probe(self) -> Translate:
        """A tiny request that the model can surely serve; of a letter, since what has none is not translated at all."""
        pair = self._family.some_pair
        return Translate(texts=("a",), source=pair.source, target=pair.target, max_new_tokens=4)

    def plan(self, request: Translate) -> Plan:
        """Check a request against the model, without running it. Raises Invalid(param)."""
        _check_size(request.texts)
        decoding = choose(request, self._default, self._room)
        return Plan(self._family.pair(request.source, request.target), decoding, request.max_input_length)

    def read(self, texts: Sequence[str], plan: Plan) -> Iterator[Part]:
        """The parts of all texts, in order, each one read when it is asked for."""
        for text in texts:
            yield from self._read(text, plan)
            yield Part(Sentence(""), last=True)

    def search(self, decoding: Decoding, sentences: Sequence[Framed]) -> list[str]:
        """Each sentence's translation. Raises Broken, and RuntimeError when the memory is too small for so many at once."""
        return [
            self._tokenizer.text([piece for piece in pieces if piece not in self._special])
            for pieces in self._engine.search(sentences, decoding)
        ]

    def _read(self, text: str, plan: Plan) -> Iterator[Part]:
        """The sentences of a text, as far as it is to be translated."""
        left = plan.max_input_tokens
        for sentence, pieces in self._pieces(split(text)):
            if not sentence.text:
                yield Part(sentence)
                continue
            if left == 0:
                return
            if left is not None and len(pieces) > left:
                yield Part(replace(sentence, gap=""), self._family.frame(pieces[:left], plan.pair))
                return
            left = None if left is None else left - len(pieces)
            yield Part(sentence, self._family.frame(pieces, plan.pair))

    def _pieces(self, sentences: Iterator[Sentence]) -> Iterator[tuple[Sentence, list[str]]]:
        for sentence in sentences:
            for part in shorten(sentence, self._fits):
                yield part, self._tokenizer.pieces(part.text) if part.text else []

    def _fits(self, text: str) -> bool:
        return len(text) <= self._longest * _LONGEST_PIECE and len(self._tokenizer.pieces(text)) <= self._longest


def _check_size(texts: Sequence[str]) -> None:
    """Raise Invalid for more than one request may ask for."""
    if len(texts) > MOST_TEXTS:
        raise Invalid(
            f"The request has {len(texts)} texts, and at most {MOST_TEXTS} are translated at once; "
            "send the rest in requests of their own.",
            param="texts",
        )
    characters = sum(map(len, texts))
    if characters > MOST_CHARACTERS:
        raise Invalid(
            f"The request has {characters} characters, and at most {MOST_CHARACTERS} are translated at once; "
            "send the rest in requests of their own.",
            param="texts",
        )
