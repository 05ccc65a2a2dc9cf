"""An answer put together from its events, as a caller sees it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from backends.base import ModelSpec
from backends.tgi.backend import TgiBackend
from backends.types import Chat, Delta, Event, Finish, FinishReason, JsonObject, Request, TokenLogprob, Usage

MODEL = ModelSpec(source="any")


@dataclass(slots=True)
class Choice:
    """One choice. calls: (id, name, arguments) of its tool calls in their order."""

    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    calls: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    finish: FinishReason | None = None


@dataclass(slots=True)
class Answer:
    """All choices by number, and the usage, which must be the last event."""

    choices: dict[int, Choice] = field(default_factory=dict)
    usage: Usage | None = None

    @property
    def only(self) -> Choice:
        """The one choice."""
        assert list(self.choices) == [0]
        return self.choices[0]


def collected(events: Iterable[Event]) -> Answer:
    """Events put together; fails on anything after a choice's Finish or after Usage."""
    answer = Answer()
    for event in events:
        assert answer.usage is None, f"{event} after usage"
        match event:
            case Delta():
                choice = answer.choices.setdefault(event.index, Choice())
                assert choice.finish is None, f"{event} after its finish"
                _add(choice, event)
            case Finish():
                choice = answer.choices.setdefault(event.index, Choice())
                assert choice.finish is None, "finished twice"
                choice.finish = event.reason
            case Usage():
                answer.usage = event
    return answer


def _add(choice: Choice, delta: Delta) -> None:
    choice.text += delta.text
    choice.logprobs += delta.logprobs
    for call in delta.tool_calls:
        known, name, arguments = choice.calls.get(call.index, ("", "", ""))
        assert not (known and call.id), "an id twice"
        choice.calls[call.index] = (known or call.id or "", name or call.name or "", arguments + call.arguments)


async def ask(backend: TgiBackend, request: Request) -> Answer:
    """The collected answer to a request."""
    return collected([event async for event in backend.run(MODEL, request)])


def user(text: str) -> JsonObject:
    """A user's message."""
    return {"role": "user", "content": text}


def chat(text: str = "hello you") -> Chat:
    """A conversation of one message."""
    return Chat(messages=(user(text),))
