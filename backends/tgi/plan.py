"""Which generations a request asks for, and how their events become one answer: TGI makes one choice per request."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from backends.errors import Invalid
from backends.tgi import completion
from backends.tgi.chat import ChatDecoder, encode_chat
from backends.tgi.completion import CompletionDecoder, encode_generation
from backends.types import Chat, Complete, Delta, Event, Finish, JsonObject, Request, Usage


class Decoder(Protocol):
    """Reads the answer to one generation; every index it yields is 0."""

    def feed(self, chunk: JsonObject) -> list[Event]:
        """Events of one streamed JSON object."""

    def whole(self, body: JsonObject) -> list[Event]:
        """All events of an answer in one piece."""

    def end(self) -> list[Event]:
        """The last events of a stream. Raises Broken for one that is not complete."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One request to TGI. index: its number among all; first: no other of the same prompt comes before it.

    inputs: what the caller calls the text sent; done: the stream says [DONE] at its end.
    """

    path: str
    body: JsonObject
    decoder: Decoder
    index: int
    first: bool
    inputs: str
    done: bool

    def numbered(self, events: Iterable[Event]) -> list[Event]:
        """Events under this generation's number; a prompt counts once, however often it is continued."""
        return [self._numbered(event) for event in events]

    def _numbered(self, event: Event) -> Event:
        match event:
            case Delta() | Finish():
                return replace(event, index=self.index)
            case Usage() if not self.first:
                return replace(event, prompt_tokens=0)
            case _:
                return event


def generations(request: Request) -> list[Generation]:
    """All generations of a request. Raises Invalid or Unsupported for what TGI cannot do."""
    match request:
        case Chat(sampling=sampling):
            return [
                Generation(
                    path="/v1/chat/completions",
                    body=encode_chat(request, sample),
                    decoder=ChatDecoder(sampling.stop),
                    index=sample,
                    first=sample == 0,
                    inputs="messages",
                    done=True,
                )
                for sample in range(sampling.n)
            ]
        case Complete(prompts=prompts):
            each = samples_per_prompt(request)
            return [
                Generation(
                    path=completion.path_of(request),
                    body=encode_generation(request, prompt, sample),
                    decoder=_completion_decoder(request, prompt),
                    index=number * each + sample,
                    first=sample == 0,
                    inputs="prompt",
                    done=False,
                )
                for number, prompt in enumerate(prompts)
                for sample in range(each)
            ]
        case _:
            raise Invalid("This model's engine (TGI) makes text only.", param="model")


def samples_per_prompt(request: Complete) -> int:
    """How many times each prompt is continued."""
    return request.sampling.best_of or request.sampling.n


def chooses_best(request: Request) -> bool:
    """Whether more is generated than is answered."""
    return isinstance(request, Complete) and samples_per_prompt(request) > request.sampling.n


def _completion_decoder(request: Complete, prompt: str | tuple[int, ...]) -> CompletionDecoder:
    return CompletionDecoder(
        request.sampling.stop,
        logprobs=request.sampling.logprobs or chooses_best(request),
        echo=prompt if request.echo and isinstance(prompt, str) else None,
    )


async def counted(events: AsyncIterable[Event]) -> AsyncGenerator[Event, None]:
    """Events with the usage of all generations as the one last event."""
    prompt_tokens = completion_tokens = 0
    seen = False
    async for event in events:
        if isinstance(event, Usage):
            seen = True
            prompt_tokens += event.prompt_tokens
            completion_tokens += event.completion_tokens
        else:
            yield event
    if seen:
        yield Usage(prompt_tokens, completion_tokens)


async def best(events: AsyncIterable[Event], request: Complete) -> AsyncGenerator[Event, None]:
    """The n likeliest of each prompt's best_of samples, likeliest first, by mean log-probability per token as TGI itself does.

    Usage passes through: all that was generated counts.
    """
    each, kept = samples_per_prompt(request), request.sampling.n
    candidates: list[list[Delta | Finish]] = [[] for _ in range(len(request.prompts) * each)]
    async for event in events:
        match event:
            case Delta() | Finish():
                candidates[event.index].append(event)
            case _:
                yield event
    for number in range(len(request.prompts)):
        ranked = sorted(candidates[number * each : (number + 1) * each], key=_likelihood, reverse=True)
        for rank, chosen in enumerate(ranked[:kept]):
            for event in chosen:
                yield _as_choice(event, number * kept + rank, logprobs=request.sampling.logprobs)


def _as_choice(event: Delta | Finish, index: int, *, logprobs: bool) -> Event:
    if isinstance(event, Delta) and not logprobs:
        return replace(event, index=index, logprobs=())
    return replace(event, index=index)


def _likelihood(events: list[Delta | Finish]) -> float:
    values = [
        token.logprob
        for event in events
        if isinstance(event, Delta)
        for token in event.logprobs
        if token.logprob is not None
    ]
    return sum(values) / len(values) if values else 0.0
