"""What engines tell of a generation, in TGI's shapes: GenerateResponse whole, StreamResponse token by token."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass, field

from backends.errors import Broken
from backends.types import Delta, Event, Finish, JsonObject, Usage
from proxy.contracts.tgi.aligned import Aligned, Token
from proxy.contracts.tgi.requests import Asked
from proxy.http.sse import data_event


@dataclass(slots=True)
class Sequence:
    """One of the answers to a prompt, as far as it is known."""

    tokens: list[Token] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    finish: Finish | None = None
    _aligned: Aligned = field(default_factory=Aligned)

    def take(self, event: Delta | Finish) -> list[Token]:
        """Read an event; the tokens that came with it."""
        if isinstance(event, Finish):
            self.finish = event
            new = self._aligned.finish(event)
        else:
            new = self._aligned.feed(event)
        self.tokens += new
        self.text += [token.text for token in new if not token.special]
        return new

    @property
    def likelihood(self) -> float:
        """The mean log-probability of its tokens, by which TGI ranks."""
        told = [token.logprob for token in self.tokens if token.logprob is not None]
        return sum(told) / len(told) if told else 0.0

    @property
    def reason(self) -> str:
        """TGI's finish_reason. Raises Broken for an answer that has no end."""
        if self.finish is None:
            raise Broken("The engine stopped before its answer's end.")
        if self.finish.reason == "length":
            return "length"
        return "stop_sequence" if self.finish.stopped_by is not None else "eos_token"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. usage: of all sequences."""

    body: JsonObject
    usage: Usage
    characters: int


async def collect(asked: Asked, events: AsyncIterable[Event]) -> Answer:
    """The whole answer; of several sequences the likeliest, and its details tell of the others. Raises Broken."""
    sequences = [Sequence() for _ in range(asked.parameters.best_of or 1)]
    usage: Usage | None = None
    async for event in events:
        match event:
            case Delta() | Finish():
                sequences[event.index].take(event)
            case Usage():
                usage = event
            case _:
                pass
    usage = usage or Usage(0, sum(len(sequence.tokens) for sequence in sequences))
    best, *others = sorted(sequences, key=lambda sequence: -sequence.likelihood)
    body: JsonObject = {"generated_text": _full_text(asked, best)}
    counts = [usage.completion_tokens] if not others else [len(each.tokens) for each in (best, *others)]
    best_details = _details(asked, best, counts[0])
    if asked.parameters.details:
        body["details"] = best_details
        if others:
            best_details["best_of_sequences"] = [
                {"generated_text": _full_text(asked, other), **_details(asked, other, count)}
                for other, count in zip(others, counts[1:], strict=True)
            ]
    return Answer(body, usage, len(asked.inputs))


async def frames(asked: Asked, events: AsyncIterable[Event]) -> AsyncGenerator[bytes, None]:
    """TGI's events: one for each token, the last with the whole text, and the details if asked for. Raises Broken.

    The last token waits for the usage, which comes after it.
    """
    sequence, usage, waiting, index = Sequence(), Usage(0, 0), list[Token](), 0
    async for event in events:
        if isinstance(event, Usage):
            usage = event
        elif isinstance(event, Delta | Finish):
            waiting += sequence.take(event)
            for token in waiting[:-1]:
                index += 1
                yield data_event(_event(asked, index, token))
            waiting = waiting[-1:]
    reason = sequence.reason
    index += 1
    last = _event(asked, index, waiting[0] if waiting else Token("", special=True))
    last["generated_text"] = _full_text(asked, sequence)
    if asked.parameters.details:
        last["details"] = {
            "finish_reason": reason,
            "generated_tokens": usage.completion_tokens or len(sequence.tokens),
            "seed": _seed(asked),
            "input_length": usage.prompt_tokens,
        }
    yield data_event(last)


def _event(asked: Asked, index: int, token: Token) -> JsonObject:
    event: JsonObject = {"index": index, "token": token.json(), "generated_text": None, "details": None}
    return {**event, "top_tokens": [*token.tops()]} if asked.parameters.top_n_tokens else event


def _details(asked: Asked, sequence: Sequence, count: int) -> JsonObject:
    details: JsonObject = {
        "finish_reason": sequence.reason,
        "generated_tokens": count,
        "seed": _seed(asked),
        "prefill": [],
        "tokens": [token.json() for token in sequence.tokens],
    }
    if asked.parameters.top_n_tokens:
        details["top_tokens"] = [[*token.tops()] for token in sequence.tokens]
    return details


def _full_text(asked: Asked, sequence: Sequence) -> str:
    return (asked.inputs if asked.parameters.return_full_text else "") + "".join(sequence.text)


def _seed(asked: Asked) -> int | None:
    """Greedy answers have none; one that nobody chose is the engine's secret."""
    return asked.parameters.seed if asked.parameters.samples else None
