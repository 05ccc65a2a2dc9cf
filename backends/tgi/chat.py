"""Chat on TGI's OpenAI route: one choice of a request to its body, its chunks to events."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from backends.errors import Broken, Unsupported
from backends.remote.openai_dialect import ChunkDecoder, decode_chat
from backends.tgi.errors import event_error
from backends.tgi.messages import encode_messages, encode_response_format, encode_tools
from backends.tgi.options import check_sampling, is_greedy, narrow_top_p, seed_of
from backends.tgi.stops import StopFilter
from backends.types import Chat, Delta, Event, Finish, FinishReason, Json, JsonObject, Sampling, ToolCallDelta, Usage

# TGI's words for the end of an answer; a streamed text completion says "" before it.
_FINISH: Final[Mapping[Json, Json]] = {"": None, "eos_token": "stop", "stop_sequence": "stop"}


def encode_chat(request: Chat, sample: int) -> JsonObject:
    """The body of POST /v1/chat/completions for choice number `sample`. Raises Invalid or Unsupported for what TGI cannot do."""
    sampling = request.sampling
    check_sampling(sampling)
    _check_chat_only(request)
    body: JsonObject = {
        # Any other name would be looked up as a LoRA adapter's, and silently not found.
        "model": "tgi",
        "messages": encode_messages(request.messages),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body |= _sampling(sampling, sample)
    body |= encode_tools(request.tools, request.tool_choice) | encode_response_format(request.response_format)
    if "tools" in body and "response_format" in body:
        raise Unsupported(
            "This model's engine (TGI) cannot take tools and a response_format together.", param="response_format"
        )
    return body


def _check_chat_only(request: Chat) -> None:
    if request.sampling.top_k not in (None, 0, -1):
        raise Unsupported("This model's engine (TGI) has no top_k for chat: use top_p.", param="top_k")
    if request.sampling.best_of not in (None, 1):
        raise Unsupported("Chat completions have no best_of: ask for several choices with n.", param="best_of")
    if request.template_args:
        words = "This model's engine (TGI) passes nothing to the chat template."
        raise Unsupported(words, param="chat_template_kwargs")


def _sampling(sampling: Sampling, sample: int) -> JsonObject:
    penalty = sampling.repetition_penalty
    options: JsonObject = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        # With temperature 0 TGI is greedy only as long as nothing else asks it to sample.
        "top_p": None if is_greedy(sampling) else narrow_top_p(sampling.top_p),
        "frequency_penalty": sampling.frequency_penalty or None,
        # The route has no repetition_penalty, but makes one of this field by adding 2.
        "presence_penalty": None if penalty in (None, 1) else penalty - 2,
        "seed": seed_of(sampling, sample),
        "stop": list(sampling.stop) or None,
        "logprobs": sampling.logprobs or None,
        "top_logprobs": sampling.top_logprobs or None if sampling.logprobs else None,
    }
    return {name: value for name, value in options.items() if value is not None}


def normalised(chunk: JsonObject) -> JsonObject:
    """A chunk or whole answer of TGI's OpenAI routes with OpenAI's finish reasons."""
    choices = chunk.get("choices")
    if not isinstance(choices, list):
        return chunk
    return chunk | {"choices": [_normalised_choice(choice) for choice in choices]}


def _normalised_choice(choice: Json) -> Json:
    if not isinstance(choice, dict):
        return choice
    reason = choice.get("finish_reason")
    return choice | {"finish_reason": _FINISH.get(reason, reason) if isinstance(reason, str) else reason}


class ChatDecoder:
    """Reads one streamed chat answer, or one that came whole. Choice index is always 0."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._chunks = ChunkDecoder("chat")
        self._stops = StopFilter(stops)
        self._calls: dict[int, str] = {}
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None

    def feed(self, chunk: JsonObject) -> list[Event]:
        """Events of one chunk. Raises the error that an error event stands for."""
        if chunk.get("error"):
            raise event_error(chunk, inputs="messages")
        return self._events(self._chunks.feed(normalised(chunk)), _stopped(chunk))

    def whole(self, body: JsonObject) -> list[Event]:
        """Events of an answer that came in one piece, the last ones included."""
        return self._events(decode_chat(normalised(body)), _stopped(body)) + self.end()

    def end(self) -> list[Event]:
        """The last events, once the stream said [DONE]. Raises Broken where the answer cannot be complete.

        A tool call has no finishing chunk: its end is the usage that follows, or, where none does, arguments that are whole.
        Usage without any text or call means that the token limit came before TGI, holding the text back, saw a call's name.
        """
        if self._reason is None and not (self._usage or self._calls_are_whole()):
            raise Broken("The engine ended its answer before it was complete.")
        reason: FinishReason = self._reason or ("stop" if self._calls else "length")
        events: list[Event] = [Finish(0, "tool_calls" if self._calls and reason == "stop" else reason)]
        return [*events, self._usage] if self._usage else events

    def _events(self, events: list[Event], stopped: bool) -> list[Event]:
        out: list[Event] = []
        for event in events:
            match event:
                case Delta(tool_calls=()):
                    out += self._stops.feed(event)
                case Delta():
                    out.append(replace(event, tool_calls=tuple(self._named(call) for call in event.tool_calls)))
                case Finish():
                    self._reason = event.reason
                    out += self._stops.finish(stopped=stopped)
                case Usage():
                    self._usage = event
        return out

    def _named(self, call: ToolCallDelta) -> ToolCallDelta:
        """The call with an id of our own, said once: TGI's are "0", again and again."""
        known = call.index in self._calls
        self._calls[call.index] = self._calls.get(call.index, "") + call.arguments
        return replace(call, id=None if known else f"call_{uuid.uuid4().hex}")

    def _calls_are_whole(self) -> bool:
        return bool(self._calls) and all(_is_json(arguments) for arguments in self._calls.values())


def _stopped(chunk: JsonObject) -> bool:
    choices = chunk.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and choice.get("finish_reason") == "stop_sequence" for choice in choices
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
