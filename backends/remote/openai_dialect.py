"""OpenAI's text dialect seen from its client: domain requests to JSON bodies, chunks and whole answers to domain events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from backends.errors import BackendError, Broken, Invalid, Overloaded, TimedOut, Unavailable, Unsupported
from backends.types import (
    Chat,
    Complete,
    Delta,
    Event,
    Finish,
    FinishReason,
    Json,
    JsonObject,
    Sampling,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)

_FINISH: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}

# --------------------------------------------------------------------------- requests


def encode_chat(request: Chat, model: str, *, stream: bool) -> JsonObject:
    """The body of POST /v1/chat/completions. Options left unsaid are left out; raises Unsupported for best_of."""
    sampling = request.sampling
    if sampling.best_of is not None:
        raise Unsupported("Chat completions have no best_of: ask for several choices with n.", param="best_of")
    body: JsonObject = {"model": model, "messages": list(request.messages)}
    body |= _sampling(sampling) | _streaming(stream)
    if sampling.logprobs:
        body |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
    if request.tools:
        body["tools"] = list(request.tools)
    if request.template_args:
        body["chat_template_kwargs"] = dict(request.template_args)
    return body | _said(
        tool_choice=request.tool_choice,
        parallel_tool_calls=request.parallel_tool_calls,
        response_format=request.response_format,
    )


def encode_complete(request: Complete, model: str, *, stream: bool) -> JsonObject:
    """The body of POST /v1/completions. Options left unsaid are left out; raises Unsupported for a grammar."""
    if request.grammar is not None:
        raise Unsupported("This model's engine cannot hold a completion to a grammar.", param="grammar")
    sampling = request.sampling
    prompts: list[Json] = [prompt if isinstance(prompt, str) else list(prompt) for prompt in request.prompts]
    body: JsonObject = {"model": model, "prompt": prompts[0] if len(prompts) == 1 else prompts}
    body |= _sampling(sampling) | _streaming(stream)
    if sampling.logprobs:
        body["logprobs"] = sampling.top_logprobs
    if request.echo:
        body["echo"] = True
    return body | _said(suffix=request.suffix, best_of=sampling.best_of)


def _sampling(sampling: Sampling) -> JsonObject:
    """What both routes call by the same names; top_k, min_p and repetition_penalty are vLLM's additions."""
    body = _said(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        frequency_penalty=sampling.frequency_penalty,
        presence_penalty=sampling.presence_penalty,
        seed=sampling.seed,
        logit_bias=None if sampling.logit_bias is None else dict(sampling.logit_bias),
    )
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.n != 1:
        body["n"] = sampling.n
    return body


def _streaming(stream: bool) -> JsonObject:
    return {"stream": True, "stream_options": {"include_usage": True}} if stream else {"stream": False}


def _said(**options: Json) -> JsonObject:
    return {name: value for name, value in options.items() if value is not None}


# --------------------------------------------------------------------------- answers


@dataclass(frozen=True, slots=True)
class ChunkDecoder:
    """Turns the JSON objects of one stream into events, in their order."""

    kind: Literal["chat", "completion"]

    def feed(self, chunk: JsonObject) -> list[Event]:
        """Events of one chunk. Raises the BackendError that an error chunk stands for, and Broken for what is no chunk."""
        if chunk.get("error"):
            raise chunk_error(chunk)
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise Broken("The engine's answer is not in OpenAI's shape: it has no choices.")
        events: list[Event] = []
        for choice in _objects(choices):
            events += self._choice(choice)
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            events.append(_usage(usage))
        return events

    def _choice(self, choice: JsonObject) -> list[Event]:
        index = _integer(choice.get("index"))
        delta = self._chat(index, choice) if self.kind == "chat" else self._completion(index, choice)
        events: list[Event] = [delta] if delta != Delta(index) else []
        reason = choice.get("finish_reason")
        if reason:
            # vLLM's addition: the stop sequence, or the id of a stop token.
            stopped_by = choice.get("stop_reason")
            events.append(Finish(index, _finish_reason(reason), stopped_by if isinstance(stopped_by, str) else None))
        return events

    @staticmethod
    def _chat(index: int, choice: JsonObject) -> Delta:
        delta = _object(choice.get("delta"))
        return Delta(
            index,
            text=_text(delta.get("content")) + _text(delta.get("refusal")),
            # vLLM names it reasoning; older servers reasoning_content.
            reasoning=_text(delta.get("reasoning")) or _text(delta.get("reasoning_content")),
            tool_calls=tuple(_tool_call(n, call) for n, call in enumerate(_objects(delta.get("tool_calls")))),
            logprobs=_chat_logprobs(choice.get("logprobs")),
        )

    @staticmethod
    def _completion(index: int, choice: JsonObject) -> Delta:
        return Delta(index, text=_text(choice.get("text")), logprobs=_completion_logprobs(choice))


def decode_chat(body: JsonObject) -> list[Event]:
    """Events of a whole chat.completion object. Raises what ChunkDecoder.feed raises."""
    choices = body.get("choices")
    if not isinstance(choices, list):
        return ChunkDecoder("chat").feed(body)
    deltas: list[Json] = [choice | {"delta": choice.get("message")} for choice in _objects(choices)]
    return ChunkDecoder("chat").feed(body | {"choices": deltas})


def decode_completion(body: JsonObject) -> list[Event]:
    """Events of a whole text_completion object, whose choices are shaped as in a stream. Raises as ChunkDecoder.feed."""
    return ChunkDecoder("completion").feed(body)


def chunk_error(chunk: JsonObject) -> BackendError:
    """The error an `{"error": {"message", "type", "param", "code"}}` object stands for.

    Only complaints about the request keep the engine's words: they are meant for the caller; the rest could be a traceback.
    """
    error = _object(chunk.get("error"))
    status, kind = error.get("code"), _text(error.get("type")).lower()
    if status == 429 or "rate_limit" in kind or "overloaded" in kind:
        return Overloaded("The engine is overloaded: try again shortly.", retry_after=1.0)
    if status in (400, 404, 413, 422) or "badrequest" in kind or "invalid" in kind or "notfound" in kind:
        message = _text(error.get("message")) or "The engine refused the request without saying why."
        return Invalid(message, param=_text(error.get("param")) or None)
    if status == 503 or "unavailable" in kind:
        return Unavailable("The engine cannot serve this model now.")
    if status in (408, 504) or "timeout" in kind:
        return TimedOut("The engine gave up on the request after too long a wait.")
    return Broken("The engine failed while answering.")


def _finish_reason(reason: Json) -> FinishReason:
    known = _FINISH.get(_text(reason))
    if known is None:
        raise Broken(f"The engine ended its answer for an unknown reason: {reason!r}.")
    return known


def _usage(usage: JsonObject) -> Usage:
    cached = _object(usage.get("prompt_tokens_details")).get("cached_tokens")
    return Usage(
        prompt_tokens=_integer(usage.get("prompt_tokens")),
        completion_tokens=_integer(usage.get("completion_tokens")),
        cached_tokens=cached if isinstance(cached, int) else None,
    )


def _tool_call(position: int, call: JsonObject) -> ToolCallDelta:
    """position: the call's place in its list, which is its number where the answer is whole and says none."""
    function = _object(call.get("function"))
    return ToolCallDelta(
        index=_integer(call.get("index", position)),
        id=_text(call.get("id")) or None,
        name=_text(function.get("name")) or None,
        arguments=_text(function.get("arguments")),
    )


def _chat_logprobs(logprobs: Json) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(
            _text(entry.get("token")),
            _number(entry.get("logprob")),
            tuple(
                (_text(top.get("token")), _number(top.get("logprob"))) for top in _objects(entry.get("top_logprobs"))
            ),
        )
        for entry in _objects(_object(logprobs).get("content"))
    )


def _completion_logprobs(choice: JsonObject) -> tuple[TokenLogprob, ...]:
    """Parallel lists to tokens; the first token of an echoed prompt has a null logprob.

    Ids (vLLM's addition, when asked for) stand beside them: as many, or they are of other tokens.
    """
    lists = _object(choice.get("logprobs"))
    tokens, values = _list(lists.get("tokens")), _list(lists.get("token_logprobs"))
    tops = _list(lists.get("top_logprobs")) or [None] * len(tokens)
    told = _list(choice.get("token_ids"))
    ids = [token if isinstance(token, int) else None for token in told] if len(told) == len(tokens) else []
    return tuple(
        TokenLogprob(_text(token), None if value is None else _number(value), _ranked(_object(top)), number)
        for token, value, top, number in zip(tokens, values, tops, ids or [None] * len(tokens), strict=False)
    )


def _ranked(top: JsonObject) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(((token, _number(value)) for token, value in top.items()), key=lambda pair: -pair[1]))


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _objects(value: Json) -> list[JsonObject]:
    return [item for item in _list(value) if isinstance(item, dict)]


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _integer(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
