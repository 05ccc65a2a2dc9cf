"""A backend's events, written as OpenAI's text answers: whole objects, or chunks of a stream."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

from backends.types import Delta, Event, Finish, FinishReason, TokenLogprob, ToolCallDelta, Usage
from proxy.http.sse import DONE, data_event


@dataclass(slots=True)
class _Choice:
    """One choice as collected so far."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    tool_calls: dict[int, dict[str, str]] = field(default_factory=dict)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: FinishReason | None = None

    def add(self, delta: Delta) -> None:
        self.text.append(delta.text)
        self.reasoning.append(delta.reasoning)
        self.logprobs.extend(delta.logprobs)
        for piece in delta.tool_calls:
            call = self.tool_calls.setdefault(piece.index, {"id": "", "name": "", "arguments": ""})
            call["id"] += piece.id or ""
            call["name"] += piece.name or ""
            call["arguments"] += piece.arguments


class TextAnswer:
    """The frame around one answer: its id, time and model, in the shape of chat or of plain completions."""

    def __init__(self, kind: Literal["chat", "completion"], model: str) -> None:
        self._chat = kind == "chat"
        self._head = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{os.urandom(12).hex()}",
            "created": int(time.time()),
            "model": model,
        }

    async def collect(self, events: AsyncIterable[Event]) -> dict[str, object]:
        """The whole answer as one object."""
        choices: dict[int, _Choice] = {}
        usage: Usage | None = None
        async for event in events:
            match event:
                case Delta():
                    choices.setdefault(event.index, _Choice()).add(event)
                case Finish():
                    choices.setdefault(event.index, _Choice()).finish = event.reason
                case Usage():
                    usage = event
        build = self._chat_choice if self._chat else self._completion_choice
        return {
            **self._head,
            "object": "chat.completion" if self._chat else "text_completion",
            "choices": [build(index, choice) for index, choice in sorted(choices.items())],
            **({"usage": _usage(usage)} if usage else {}),
        }

    async def frames(self, events: AsyncGenerator[Event, None], *, include_usage: bool) -> AsyncGenerator[bytes, None]:
        """The answer as server-sent events, `[DONE]` last."""
        introduced: set[int] = set()
        offsets: dict[int, int] = {}
        usage: Usage | None = None
        nothing = {"usage": None} if include_usage else {}
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Usage):
                    usage = event
                elif isinstance(event, (Delta, Finish)):
                    if self._chat and event.index not in introduced:
                        introduced.add(event.index)
                        opening = {"role": "assistant", "content": ""}
                        yield self._chunk([_chunk_choice(event.index, {"delta": opening})], nothing)
                    yield self._chunk([self._piece(event, offsets)], nothing)
        if include_usage and usage is not None:
            yield self._chunk([], {"usage": _usage(usage)})
        yield DONE

    def _chunk(self, choices: list[dict[str, object]], extra: Mapping[str, object]) -> bytes:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return data_event({**self._head, "object": kind, "choices": choices, **extra})

    def _piece(self, event: Delta | Finish, offsets: dict[int, int]) -> dict[str, object]:
        if isinstance(event, Finish):
            body: dict[str, object] = {"delta": {}} if self._chat else {"text": ""}
            return _chunk_choice(event.index, body, finish=event.reason)
        if self._chat:
            logprobs = _chat_logprobs(event.logprobs)
            return _chunk_choice(event.index, {"delta": _delta(event)}, logprobs=logprobs)
        offset = offsets.get(event.index, 0)
        offsets[event.index] = offset + len(event.text)
        logprobs = _completion_logprobs(event.logprobs, offset)
        return _chunk_choice(event.index, {"text": event.text}, logprobs=logprobs)

    def _chat_choice(self, index: int, choice: _Choice) -> dict[str, object]:
        text = "".join(choice.text)
        message: dict[str, object] = {"role": "assistant", "content": text or (None if choice.tool_calls else "")}
        message["refusal"] = None
        if any(choice.reasoning):
            message["reasoning"] = "".join(choice.reasoning)
        if choice.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
                for _, call in sorted(choice.tool_calls.items())
            ]
        logprobs = _chat_logprobs(choice.logprobs)
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish}

    def _completion_choice(self, index: int, choice: _Choice) -> dict[str, object]:
        logprobs = _completion_logprobs(choice.logprobs, 0)
        return {"index": index, "text": "".join(choice.text), "logprobs": logprobs, "finish_reason": choice.finish}


def _chunk_choice(
    index: int, body: dict[str, object], *, logprobs: object = None, finish: FinishReason | None = None
) -> dict[str, object]:
    return {"index": index, **body, "logprobs": logprobs, "finish_reason": finish}


def _delta(event: Delta) -> dict[str, object]:
    delta: dict[str, object] = {}
    if event.text or not (event.reasoning or event.tool_calls):
        delta["content"] = event.text
    if event.reasoning:
        delta["reasoning"] = event.reasoning
    if event.tool_calls:
        delta["tool_calls"] = [_tool_call(piece) for piece in event.tool_calls]
    return delta


def _tool_call(piece: ToolCallDelta) -> dict[str, object]:
    function = {"arguments": piece.arguments, **({"name": piece.name} if piece.name is not None else {})}
    identity = {"id": piece.id, "type": "function"} if piece.id is not None else {}
    return {"index": piece.index, **identity, "function": function}


def _chat_logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, object] | None:
    content = [
        {
            **_token(token.token, token.logprob),
            "top_logprobs": [_token(text, logprob) for text, logprob in token.top],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None} if content else None


def _token(text: str, logprob: float | None) -> dict[str, object]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "surrogatepass"))}


def _completion_logprobs(tokens: Iterable[TokenLogprob], offset: int) -> dict[str, object] | None:
    listed = list(tokens)
    if not listed:
        return None
    offsets = []
    for token in listed:
        offsets.append(offset)
        offset += len(token.token)
    return {
        "tokens": [token.token for token in listed],
        "token_logprobs": [token.logprob for token in listed],
        "top_logprobs": [dict(token.top) for token in listed],
        "text_offset": offsets,
    }


def _usage(usage: Usage) -> dict[str, object]:
    details = {} if usage.cached_tokens is None else {"prompt_tokens_details": {"cached_tokens": usage.cached_tokens}}
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        **details,
    }
